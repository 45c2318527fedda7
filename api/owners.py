"""An owner goes only where another one remains: asked of the organisation's own stream, before their membership changes."""

from api.ports import Ports
from api.writing import Writing
from commands.memberships import OWNERS, Owner, ReleaseOwner
from events.streams import StreamId


async def release_owner(ports: Ports, write: Writing, stream: StreamId) -> int:
    """Before somebody stops being an owner: as of which version of their membership they may; 0 for who is none. Raises LastOwner."""
    owners = ports.access.owners_of(stream.tenant)
    version = dict(owners).get(stream.id, 0)
    if not version or (write.expected_versions and version not in write.expected_versions):
        return 0
    command = ReleaseOwner(person_id=stream.id, owners=tuple(Owner(person_id=each, version=at) for each, at in owners))
    await write(OWNERS, StreamId(stream.tenant, "owners", stream.tenant), command, step="release")
    return version
