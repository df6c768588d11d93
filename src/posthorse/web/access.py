"""Who makes a request, and what they may do: one frozen value, made once for each request. It knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, StrEnum, auto

from posthorse.rules.job import checked_name
from posthorse.rules.tokens import Role, checked_role


class Permission(Flag):
    """What a request needs. One that names several needs any of them."""

    READ = auto()
    READ_DATA = auto()
    """Arguments, results and logs, which may be personal."""
    SUBMIT = auto()
    STEER = auto()
    DELETE = auto()
    NOTHING = 0
    """Probes: no login is asked for."""


class Scope(StrEnum):
    """What a request is about."""

    PROCESS = "process"
    """The service itself."""
    STORE = "store"
    """The whole store, so it is not for the credentials of one tenant."""
    JOBS = "jobs"
    """Jobs, of which each tenant sees its own."""
    JOB = "job"
    """One job, which must be visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who makes a request, and what they may do and see.

    name: for the log, and as the submitter of jobs. role: a `Role`, or its name.
    tenant: the only tenant whose jobs are seen, steered and submitted; None for all.
    sees_arguments: whether arguments, results, logs and tracebacks of jobs are shown. A submitter sees those of its own
        jobs in any case.

    Raises InvalidOption.
    """

    name: str
    role: Role
    tenant: str | None = None
    sees_arguments: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, what="the name of an access")
        if self.tenant is not None:
            checked_name(self.tenant, what="tenant")
        object.__setattr__(self, "role", checked_role(self.role))

    @property
    def sees_only_its_own(self) -> bool:
        """Whether it reads only jobs that it submitted."""
        return self.role is Role.SUBMITTER

    @property
    def sees_all_jobs(self) -> bool:
        """Whether there are no jobs that are hidden from it."""
        return self.tenant is None and not self.sees_only_its_own

    @property
    def sees_data(self) -> bool:
        """Whether arguments, results, logs and tracebacks of the jobs that it sees are shown."""
        return self.sees_arguments or self.sees_only_its_own

    def may(self, needs: Permission, scope: Scope) -> bool:
        """Return whether it has one of these permissions there."""
        granted = _GRANTED[self.role]
        if self.sees_only_its_own and scope is Scope.JOB:
            granted |= Permission.READ | Permission.READ_DATA
        if self.sees_arguments and Permission.READ in granted:
            granted |= Permission.READ_DATA
        return bool(granted & needs)


EVERYTHING = Access(name="local", role=Role.ADMIN, sees_arguments=True)
"""What requests may do where only this machine can make them, and no tokens exist."""

_GRANTED = {
    Role.VIEWER: Permission.READ,
    Role.SUBMITTER: Permission.SUBMIT,
    Role.OPERATOR: Permission.READ | Permission.STEER,
    Role.ADMIN: Permission.READ | Permission.SUBMIT | Permission.STEER | Permission.DELETE,
}
