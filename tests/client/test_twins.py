"""`Client` is the AsyncClient without `async`: made of it, with the same names, parameters and words."""

from __future__ import annotations

import inspect
import math
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from blobforge.client import ApiError, AsyncClient, Client, ServerUnreachable
from tests.fixtures.server import ServerProcess, serving
from tests.generated_client import TARGET, WORKERS_OWN, source

ASYNC_ONLY = WORKERS_OWN | {"events", "with_instance"}


def public(class_: type) -> set[str]:
    return {name for name in dir(class_) if name[0] != "_"}


def test_the_synchronous_client_is_up_to_date() -> None:
    assert TARGET.read_text() == source(), "run `make docs`"


def test_both_have_the_same_methods_with_the_same_parameters() -> None:
    assert public(AsyncClient) - public(Client) == ASYNC_ONLY
    assert public(Client) - public(AsyncClient) == {"close"}
    for name in public(Client) - {"close", "base_url", "with_patience"}:
        ours, theirs = (inspect.signature(getattr(class_, name)) for class_ in (Client, AsyncClient))
        assert ours.parameters == theirs.parameters, name
        assert "Async" not in str(ours.return_annotation)
        assert getattr(Client, name).__doc__ == getattr(AsyncClient, name).__doc__ != None  # noqa: E711


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("twins") / "data") as process:
        yield process


def test_a_client_without_arguments_is_what_the_command_would_be(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("BLOBFORGE_SERVER_URL", server.url)
    monkeypatch.setenv("BLOBFORGE_DATA_DIR", str(server.folder))
    with Client() as client:
        assert client.base_url == server.url
        assert client.whoami().is_admin
    monkeypatch.setenv("BLOBFORGE_API_TOKEN", "bf_wrong")
    with Client() as client, pytest.raises(ApiError, match="token") as refused:
        client.whoami()
    assert refused.value.status == 401
    monkeypatch.setenv("BLOBFORGE_API_TOKEN", "no token")
    with pytest.raises(ValueError, match="credential"):
        Client()


def test_it_serves_several_threads_and_ends_with_its_block(server: ServerProcess) -> None:
    with Client(server.url, token=server.token) as client:
        ids = [client.submit(f"{n}".encode(), "pdf", name=f"{n}.pdf").job_id for n in range(3)]
        found: list[int] = []

        def read() -> None:
            found.extend(job.id for job in client.jobs(type="pdf"))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == sorted(ids * 4)
        for _ in client.jobs():
            break  # an iterator that is not read to its end leaves nothing open
        client.delete_job(ids.pop())  # it is answered with no body
        assert sorted(job.id for job in client.jobs()) == ids
        with pytest.raises(TimeoutError, match="have not ended"):
            client.wait(ids[0], timeout=0.01)
        with pytest.raises(ApiError) as missing:
            client.wait(10**9)
        assert missing.value.status == 404
        with pytest.raises(ApiError) as missing:
            client.fetch(ids[0])
        assert missing.value.type == "no-such-object"
        first = next(iter(client.follow()))
        assert first.name == "resync"
    assert "blobforge-client" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RuntimeError, match="closed"):
        client.whoami()


def test_a_server_that_is_away_is_asked_again(tmp_path: Path) -> None:
    """The retry policy is that of the AsyncClient, as it is the AsyncClient that asks."""
    process = ServerProcess(tmp_path / "data")
    process.folder.mkdir()
    process.start()
    try:
        url, token = process.url, process.token
        process.variables["BLOBFORGE_PORT"] = url.rpartition(":")[2]
        with Client(url, token=token, patience=0) as client:
            assert client.whoami().is_admin
            process.kill()
            with pytest.raises(ServerUnreachable):
                client.whoami()
            begun = threading.Timer(0.3, process.start)
            begun.start()
            assert client.with_patience(math.inf).whoami().is_admin
            begun.join()
    finally:
        process.close()


async def test_inside_of_trio_it_says_what_is_wrong(server: ServerProcess) -> None:
    client = Client(server.url, token=server.token)
    with pytest.raises(RuntimeError):
        client.whoami()
    await trio.to_thread.run_sync(client.close)


def test_a_call_that_hangs_ends_when_the_client_is_closed() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", patience=math.inf)
        raised: list[BaseException] = []

        def ask() -> None:
            try:
                client.whoami()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while client._loop._thread is None:
            time.sleep(0.01)
        client.close()
        thread.join(10)
        assert not thread.is_alive()
        assert raised
