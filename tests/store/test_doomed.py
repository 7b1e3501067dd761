"""The list of objects to delete: its verbs change the rows that they name, and no others."""

from __future__ import annotations

from blobforge.store.files import DELETING, GONE, LATER, WAITING, Doom
from tests.fixtures.engines import Database
from tests.store.making import Book

OVER = (GONE, LATER)


def listed(database: Database) -> dict[str, tuple[str, int, int, int, int]]:
    columns = ("key", "state", "due_at", "tries", "epoch", "again")
    return {key: tuple(rest) for key, *rest in database.probe.rows("doomed_objects", *columns)}


def test_an_entry_is_added_over_others_of_the_states_that_are_named(book: Book, database: Database) -> None:
    with book.store.transaction():
        for state in (LATER, WAITING, DELETING, GONE):
            book.store.doomed.add(state, WAITING, due_at=1, again=True, over=OVER)
            book.store.doomed.put(state, state, due_at=5, tries=2, epoch=7, again=False)
        for state in (LATER, WAITING, DELETING, GONE):
            book.store.doomed.add(state, WAITING, due_at=9, again=True, over=OVER)
        assert book.store.doomed.get(GONE) == Doom(WAITING, 0, 7, True)
    assert listed(database) == {
        LATER: (WAITING, 9, 0, 7, 1),
        GONE: (WAITING, 9, 0, 7, 1),
        WAITING: (WAITING, 5, 2, 7, 0),
        DELETING: (DELETING, 5, 2, 7, 0),
    }


def test_what_is_due_is_dropped_moved_or_listed_by_state_and_kind(book: Book, database: Database) -> None:
    doomed = book.store.doomed
    with book.store.transaction():
        for name, state, due_at, again in (
            ("a", GONE, 5, True), ("b", GONE, 5, False), ("c", GONE, 6, True), ("d", LATER, 5, True),
            ("e", WAITING, 4, True), ("f", WAITING, 3, True), ("g", WAITING, 9, True),
        ):  # fmt: skip
            doomed.add(name, state, due_at=due_at, again=again, over=OVER)
            doomed.put(name, state, due_at=due_at, tries=3, epoch=2, again=again)
        assert (doomed.next_at(WAITING), doomed.next_at(GONE), doomed.next_at(DELETING)) == (3, 5, None)
        assert doomed.due(WAITING, now=4, limit=9) == ["f", "e"]
        assert doomed.due(WAITING, now=9, limit=1) == ["f"]
        assert doomed.drop_due(GONE, again=True, now=5, limit=1), "there may be more"
        assert doomed.get("a") is None
        doomed.move_due(GONE, WAITING, again=False, now=5, limit=9)
        assert doomed.get("b") == Doom(WAITING, 0, 2, True)
        doomed.hasten(WAITING, due_at=4, limit=9)
        while doomed.forget_epochs(limit=4):
            pass
        assert doomed.get("c") == Doom(GONE, 3, 0, True)
    assert listed(database) == {
        "b": (WAITING, 4, 0, 0, 1),
        "c": (GONE, 6, 3, 0, 1),
        "d": (LATER, 5, 3, 0, 1),
        "e": (WAITING, 4, 3, 0, 1),
        "f": (WAITING, 3, 3, 0, 1),
        "g": (WAITING, 4, 3, 0, 1),
    }


def test_a_database_says_that_it_is_there_and_the_room_that_it_takes(book: Book, database: Database) -> None:
    assert database.engine.exists()
    reader = database.engine.open_reader()
    assert all(size >= 0 for size in reader.space().parts.values())
    reader.close()
