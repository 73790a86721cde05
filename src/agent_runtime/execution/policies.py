"""The policies of a kernel: which one a new job gets, and the version an old one was admitted under."""

from __future__ import annotations

from collections.abc import Iterable

from agent_runtime.errors import InvalidInput, UnknownPolicy
from agent_runtime.policy.document import read_policy
from agent_runtime.policy.engine import PolicyEngine
from agent_runtime.policy.policy import Policy
from agent_runtime.ports.commit import StoredPolicy
from agent_runtime.ports.storage import Storage
from agent_runtime.values.context import PolicyRef


class Policies:
    """Policies by name. Every version that a job was admitted under is stored with its job and can be found again.

    Args:
        engines: The first one governs requests that name no policy.
        storage: Where versions are kept.
    """

    def __init__(self, engines: Iterable[PolicyEngine], storage: Storage) -> None:
        self._engines: dict[str, PolicyEngine] = {}
        for engine in engines:
            if self._engines.setdefault(engine.name, engine) is not engine:
                raise InvalidInput(f"there are two policies named {engine.name!r}")
        self.main = next(iter(self._engines.values()))
        self._storage = storage
        self._versions: dict[tuple[str, str], Policy] = {}

    async def for_new_job(self, ref: PolicyRef | None) -> Policy | None:
        """Return the policy that a request names, as it stands now; `None` when nothing governs it.

        Raises:
            UnknownPolicy: No policy has this name, or nobody has this version.
        """
        if ref is None:
            return self.main.policy if self.main.policy.governs else None
        engine = self._engines.get(ref.name)
        if engine is None:
            known = ", ".join(sorted(self._engines))
            raise UnknownPolicy(f"no policy is named {ref.name!r}; known: {known}")
        if ref.version in (None, engine.policy.version):
            return engine.policy
        return await self._version(ref.name, str(ref.version))

    async def of_job(self, ref: PolicyRef | None) -> Policy | None:
        """Return the version that a job was admitted under, whatever the policy says today.

        Raises:
            UnknownPolicy: It cannot be found.
        """
        if ref is None or ref.version is None:
            return await self.for_new_job(ref)
        engine = self._engines.get(ref.name)
        if engine is not None and engine.policy.version == ref.version:
            return engine.policy
        return await self._version(ref.name, ref.version)

    async def _version(self, name: str, version: str) -> Policy:
        known = self._versions.get((name, version))
        if known is None:
            stored = await self._storage.get_policy(name, version)
            if stored is None:
                raise UnknownPolicy(f"version {version!r} of policy {name!r} is not known here")
            known = read_policy(stored.document, source=f"policy {name} {version}")
            self._versions[(name, version)] = known
        return known


def stored(policy: Policy | None) -> list[StoredPolicy]:
    """Return a policy's version to keep with a job that it governs."""
    return [] if policy is None else [StoredPolicy(policy.name, policy.version, policy.to_dict())]
