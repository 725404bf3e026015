"""What it takes to start a run, and to start it again: by the launch, or by a keeper after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.inventory import Host, Main
from orchestrator.plan import Elastic, Job
from orchestrator.plan.paste import is_secret, masked
from orchestrator.runs.plain import parse, plain


@dataclass(frozen=True)
class Recipe:
    """The job, and the hosts that it is for; `spares` may take the place of one that is lost.

    `source` is the folder that goes to the nodes (None: they have the files), `script` what the checks
    look into (None: it cannot be seen from here), `preflight` whether there are checks. The run is started
    again up to `restarts` times. `withheld` names the variables whose values are not known here.
    """

    job: Job
    hosts: tuple[Host, ...]
    spares: tuple[Host, ...] = ()
    main: Main = field(default_factory=Main)
    source: Path | None = None
    script: Path | None = None
    preflight: bool = True
    restarts: int = 0
    withheld: tuple[str, ...] = ()

    def at(self, hosts: Mapping[str, Host]) -> Recipe:
        """Return the same for hosts that are found elsewhere now: those of these names."""
        return replace(
            self,
            hosts=tuple(hosts.get(host.name, host) for host in self.hosts),
            spares=tuple(hosts.get(host.name, host) for host in self.spares),
        )

    def describe(self, *, secrets: bool) -> dict[str, Any]:
        """Return it as JSON; without `secrets`, their values are masked, and their names withheld."""
        given = (self.job.environment, *(host.env for host in (*self.hosts, *self.spares)))
        names = {name for environment in given for name in environment}
        hidden = () if secrets else sorted(n for n in names if is_secret(n, self.job.secrets))

        def shown(environment: Mapping[str, str]) -> dict[str, str]:
            return dict(environment) if secrets else masked(environment, self.job.secrets)

        def described(hosts: Sequence[Host]) -> list[dict[str, Any]]:
            return [{**host.model_dump(mode="json"), "env": shown(host.env)} for host in hosts]

        job = {name: plain(getattr(self.job, name)) for name in Job.__dataclass_fields__}
        return {
            "job": {
                **job,
                "environment": shown(self.job.environment),
                "secrets": sorted(self.job.secrets),
            },
            "hosts": described(self.hosts),
            "spares": described(self.spares),
            "main": self.main.model_dump(mode="json"),
            "source": plain(self.source),
            "script": plain(self.script),
            "preflight": self.preflight,
            "restarts": self.restarts,
            "withheld": sorted({*self.withheld, *hidden}),
        }

    @classmethod
    def parse(cls, described: Mapping[str, Any]) -> Recipe:
        """Return what `describe` described. Raises KeyError, TypeError or ValueError for anything else."""
        job = described["job"]
        return cls(
            job=Job(
                **{
                    **job,
                    "arguments": parse(tuple[str, ...], job["arguments"]),
                    "launcher_arguments": parse(tuple[str, ...], job["launcher_arguments"]),
                    "environment": parse(Mapping[str, str], job["environment"]),
                    "secrets": frozenset(parse(tuple[str, ...], job["secrets"])),
                    "elastic": parse(Elastic | None, job.get("elastic")),
                }
            ),
            hosts=tuple(Host(**host) for host in described["hosts"]),
            spares=tuple(Host(**host) for host in described["spares"]),
            main=Main(**described["main"]),
            source=parse(Path | None, described["source"]),
            script=parse(Path | None, described["script"]),
            preflight=parse(bool, described["preflight"]),
            restarts=parse(int, described["restarts"]),
            withheld=parse(tuple[str, ...], described["withheld"]),
        )
