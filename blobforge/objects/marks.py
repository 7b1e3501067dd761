"""The marks of the databases that keep objects in a store (`installations/<id>`).

Two databases beside one store share its sources, for these have no installation in their keys. So each leaves a mark
before it is asked to delete any, and where there is another's, sources stay. A new database that finds objects and no
mark leaves one for the unknown, too: a release that left none, or a database that was lost, may need them yet. A
mark that is out of date is removed by the operator.
"""

from __future__ import annotations

from blobforge.objects import ObjectStore
from blobforge.objects.keys import ACCEPTED, MARKS, OUTPUTS, SOURCES, UNKNOWN_INSTALLATION, mark_key


async def others(objects: ObjectStore, installation: str) -> tuple[str, ...]:
    """The installations, other than this one, that have left a mark. Raises ObjectStoreError."""
    names = (each.key.removeprefix(MARKS) for each in (await objects.list_page(MARKS)).objects)
    return tuple(name for name in names if name != installation)


async def leave(objects: ObjectStore, installation: str, *, fresh: bool) -> bool:
    """Leave the mark of this database. Whether it is `fresh` (it never had a job) and found objects that are not its
    own. Raises ObjectStoreError."""
    found = False
    if fresh and await objects.head(mark_key(installation)) is None:
        for prefix in (SOURCES, OUTPUTS, ACCEPTED):
            found = found or bool((await objects.list_page(prefix, limit=1)).objects)
        if found and not await others(objects, installation):
            await objects.put_own(mark_key(UNKNOWN_INSTALLATION), b"")
    await objects.put_own(mark_key(installation), b"")
    await objects.learn(mark_key(installation))
    return found
