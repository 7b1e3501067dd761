"""Several outputs of one attempt: URLs to upload them by, what is told of them, how they are looked for before the
attempt is completed, and the list of those of a job.

They are looked for by listing what begins with the attempt's prefix, never one by one. Each is written once, so that
nothing of it is copied when it is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from actors.messages import ChooseOutputs, Complete, Several, TellOutputs
from blobforge.job import Job, no_such_job
from blobforge.objects import NotOfferedError, ObjectStore, ObjectStoreError
from blobforge.objects.keys import name_in, named_output_key, output_of, prefix_of
from blobforge.outputs import AT_ONCE, Output, wrong_name
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.reading import Reader
from web.api import former, wire_attempts, wire_files
from web.api.grants import absolute, last_part, output_name
from web.api.held import HeldAttempt, held_attempt
from web.decode import query
from web.routing import Access, Call, Route
from web.served import key_of, served

OutputPlace = tuple[int, int, str]  # job, attempt, name
Named = dict[OutputPlace, Output]


# ------------------------------------------------------------------ before they are there


async def upload_urls(
    call: Call, body: wire_files.UploadBody, names: Sequence[str | wire_files.NamedUpload]
) -> wire_files.UploadUrls | Refusal:
    """URLs to upload several outputs of an attempt; from now on the attempt has told of them."""
    objects = call.services.objects
    if not objects.learned:
        said = "The server has just started, and has not found out yet what the object store can do. Ask again."
        return Refusal(RefusalCode.UNAVAILABLE, said, retry_after=1)
    if not (objects.write_once or objects.name == "local"):
        said = "This object store writes over what is there, whatever an upload says: an attempt has one output here."
        return Refusal(RefusalCode.WRONG_STORE, said)
    held = await held_attempt(call, body)
    if isinstance(held, Refusal):
        return held
    wanted = [wire_files.NamedUpload(each) if isinstance(each, str) else each for each in names]
    said_of = [wire_attempts.OutputSaid(each.name, each.checksum, each.size, each.media_type) for each in wanted]
    told = await _tell(call, held, said_of, lease=body.lease, instance=body.instance)
    if isinstance(told, Refusal):
        return told
    prefix = prefix_of(held.job.upload_key or "")
    urls = []
    for each in wanted:
        upload = await _upload(call, each, named_output_key(prefix, each.name))
        if isinstance(upload, Refusal):
            return upload
        urls.append(upload)
    return wire_files.UploadUrls(urls)


async def _upload(call: Call, wanted: wire_files.NamedUpload, key: str) -> wire_files.NamedUploadUrl | Refusal:
    objects = call.services.objects
    if wanted.multipart and objects.multipart is not None:
        if wanted.size is None:
            return Refusal(
                RefusalCode.INVALID, f"Say how large {wanted.name!r} is, to upload it in parts.", field="size"
            )
        try:
            begun = await objects.multipart.begin(key, wanted.size)
        except NotOfferedError:
            pass  # by one PUT, then
        except ObjectStoreError as error:
            return _store_failed(error)
        else:
            parts = [wire_files.PartStored(part.number, part.size, part.etag) for part in begun.parts]
            return wire_files.NamedUploadUrl(
                name=wanted.name, key=key, upload_id=begun.id, part_size=begun.part_size, parts=parts
            )
    lifetime = round(call.services.settings.url_lifetime)
    signed = objects.sign_upload(key, expires_in=lifetime, sha256=wanted.checksum, write_once=objects.write_once)
    return wire_files.NamedUploadUrl(
        name=wanted.name, key=key, url=absolute(call, signed.url), headers=signed.headers
    )


async def told_key(call: Call, job: Job, name: str) -> str | Refusal:
    """The key of one of several outputs that the job's attempt has told of."""
    known = await call.services.reads.run(lambda reader: reader.outputs.told(job.id, job.attempt))
    if not any(each.name == name for each in known):
        said = f"The attempt has told of no output {name!r}. Ask for its upload URL first (names)."
        return Refusal(RefusalCode.INVALID, said, field="name")
    return named_output_key(prefix_of(job.upload_key or ""), name)


async def tell(call: Call, body: wire_attempts.OutputsBody) -> wire_attempts.OutputsAnswer | Refusal:
    """More of an attempt's outputs, or more about them."""
    job_id = call.params["job_id"]
    held = await held_attempt(call, wire_files.Destination(job_id=job_id, lease=body.lease, worker_id=body.worker_id))
    if isinstance(held, Refusal):
        return held
    told = await _tell(call, held, body.outputs, lease=body.lease, instance=body.instance, repeat=True)
    return told if isinstance(told, Refusal) else wire_attempts.OutputsAnswer(len(body.outputs))


async def _tell(
    call: Call,
    held: HeldAttempt,
    said: Sequence[wire_attempts.OutputSaid],
    *,
    lease: str | None,
    instance: str | None,
    repeat: bool = False,
) -> Refusal | None:
    for each in said:
        if (wrong := wrong_name(each.name)) is not None:
            return Refusal(RefusalCode.INVALID, f"An output cannot be called {each.name!r}: {wrong}.", field="name")
    outputs = tuple(Output(each.name, each.size, each.checksum, each.media_type) for each in said)
    message = TellOutputs(call.caller, held.worker_id, held.job.id, outputs, lease, instance)
    told = await call.tell(message, call.repeat if repeat else None)
    return told if isinstance(told, Refusal) else None


# ------------------------------------------------------------------ when the attempt is completed


async def gathered(
    call: Call, message: Complete, wanted: Sequence[wire_attempts.OutputSaid] | Literal["all"]
) -> Complete | Refusal:
    """The completion with what was found of its outputs: chosen piece by piece, and counted."""
    job = await call.services.reads.run(lambda reader: reader.job_in_short(message.job_id))
    if job is None:
        return no_such_job(message.job_id)
    if job.upload_key is None or output_of(job.upload_key).installation is None:
        return message  # not claimed, or by an older release: the completion is told why
    if wanted != "all":
        told = await _tell(
            call, HeldAttempt(job, message.worker_id), wanted, lease=message.lease, instance=message.instance
        )
        if told is not None and told.code is RefusalCode.INVALID:
            return told
    number, prefix = job.attempt, prefix_of(job.upload_key)
    known = {
        each.name: each for each in await call.services.reads.run(lambda reader: reader.outputs.told(job.id, number))
    }
    names = list(known) if wanted == "all" else list(dict.fromkeys(each.name for each in wanted))
    if not names:
        said = "This attempt has told of no outputs: ask for their upload URLs (names), and upload them first."
        return Refusal(RefusalCode.OUTPUT_MISSING, said)
    main = message.output_key or named_output_key(prefix, names[0])
    if main not in {named_output_key(prefix, name) for name in names}:
        said = 'With outputs "all", output_key is that of one of them, the main one.'
        return Refusal(RefusalCode.INVALID, said, field="output_key")
    try:
        sizes = await _listed(call.services.objects, prefix)
    except ObjectStoreError as error:
        return _store_failed(error)
    found = []
    for name in names:
        said_of, size = known.get(name, Output(name)), sizes.get(name)
        if size is None:
            said = f"There is no output {name!r} of attempt {number}. Upload it first, then complete."
            return Refusal(RefusalCode.OUTPUT_MISSING, said)
        if said_of.size not in (None, size):
            said = f"The output {name!r} has {size} bytes, not {said_of.size}."
            return Refusal(RefusalCode.OUTPUT_MISSING, said)
        found.append(Output(name, size))
    for start in range(0, len(found), AT_ONCE):
        some = tuple(found[start : start + AT_ONCE])
        chosen = await call.tell(
            ChooseOutputs(call.caller, message.worker_id, job.id, some, start == 0, message.lease, message.instance)
        )
        if isinstance(chosen, Refusal):
            break  # lost, or completed already: the completion itself says which
    several = Several(len(found), sum(each.size or 0 for each in found))
    return replace(message, output_key=main, several=several)


async def _listed(objects: ObjectStore, prefix: str) -> dict[str, int]:
    """The sizes of what is there of an attempt's outputs, by their names. Raises ObjectStoreError."""
    sizes: dict[str, int] = {}
    cursor: str | None = ""
    while cursor is not None:
        page = await objects.list_page(prefix, cursor=cursor)
        for each in page.objects:
            name = name_in(each.key)
            if name is not None:
                sizes[name] = each.size
        cursor = page.cursor
    return sizes


def _store_failed(error: ObjectStoreError) -> Refusal:
    return Refusal(RefusalCode.UNAVAILABLE, f"The object store failed: {error}", retry_after=5)


# ------------------------------------------------------------------ those of a job


def place(job: Job, kind: str, name: str | None) -> OutputPlace | None:
    """Where the output of this name is on record, or, without a name, the main one of several. None: nowhere."""
    attempt = job.result_attempt
    if kind != "output" or attempt is None:
        return None
    if name is None:
        name = name_in(job.output_key) if job.output_key is not None else None
    return (job.id, attempt, name) if name is not None else None


async def named(call: Call, job: Job, kind: str, name: str | None) -> Output | Refusal | None:
    """The output of that name; None where none is asked for, and the job has one output."""
    wanted = place(job, kind, name)
    if wanted is not None:
        found = (await call.services.reads.run(lambda reader: reader.outputs.these([wanted]))).get(wanted)
        if found is not None:
            return found
    return no_such_output(job, kind, name) if name is not None else None


def no_such_output(job: Job, kind: str, name: str) -> Refusal:
    said = f"Job {job.id} ({job.status}) has no {kind} named {name!r}."
    return Refusal(RefusalCode.NO_SUCH_OBJECT, said, field="name")


def signed_download(call: Call, job: Job, output: Output) -> str:
    """A URL to fetch it: it is on record, and the store is not asked."""
    key = named_output_key(prefix_of(job.output_key or ""), output.name)
    lifetime = round(call.services.settings.url_lifetime)
    url = call.services.objects.sign_download(key, expires_in=lifetime, filename=last_part(output.name))
    return absolute(call, url)


def file_url(call: Call, job: Job, output: Output) -> wire_files.FileUrl:
    return wire_files.FileUrl(
        job_id=job.id,
        kind="output",
        url=signed_download(call, job, output),
        filename=last_part(output.name),
        key=named_output_key(prefix_of(job.output_key or ""), output.name),
        size=output.size,
        sha256=output.sha256,
        name=output.name,
    )


async def listed(call: Call) -> wire_attempts.OutputList | Refusal:
    """The outputs of a job, by name."""
    wanted = query(call.request.args, wire_attempts.OutputsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    job_id = call.params["job_id"]

    def look(reader: Reader) -> tuple[Job | Refusal, list[Output]]:
        with reader.snapshot():
            job = reader.job_to_name(job_id, former=wanted.former)
            if job is None:
                return former.missing(reader, job_id, former=wanted.former), []
            if place(job, "output", None) is None:
                return job, []
            attempt = job.result_attempt
            assert attempt is not None
            return job, reader.outputs.page(job.id, attempt, after=wanted.cursor, limit=wanted.limit + 1)

    job, found = await call.services.reads.run(look)
    if isinstance(job, Refusal):
        return job
    if place(job, "output", None) is None:
        return await _the_one(call, job) if not wanted.cursor else wire_attempts.OutputList([])
    page = [
        wire_attempts.OutputWire(each.name, each.size, each.sha256, each.media_type) for each in found[: wanted.limit]
    ]
    return wire_attempts.OutputList(page, page[-1].name if len(found) > wanted.limit else None)


async def _the_one(call: Call, job: Job) -> wire_attempts.OutputList | Refusal:
    """The list of a job that has one output, or none."""
    if key_of(job, "output") is None:
        return wire_attempts.OutputList([])
    found = await served(call.services, job, "output")
    if isinstance(found, Refusal):
        return found if found.code is RefusalCode.UNAVAILABLE else wire_attempts.OutputList([])
    info = found.info
    size, sha256 = (info.size, info.sha256) if info is not None else (None, None)
    return wire_attempts.OutputList([wire_attempts.OutputWire(output_name(job), size, sha256)])


ROUTES = [
    Route("POST", "/api/jobs/<id:job_id>/outputs", Access.WORK, tell,
          "Tell of several outputs of an attempt: their names, hashes, sizes, media types",
          body=wire_attempts.OutputsBody, gives=wire_attempts.OutputsAnswer),
    Route("GET", "/api/jobs/<id:job_id>/outputs", Access.READ, listed,
          "The outputs of a job, by name, page by page",
          gives=wire_attempts.OutputList, query=wire_attempts.OutputsQuery),
]  # fmt: skip
