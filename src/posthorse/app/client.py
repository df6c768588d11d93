"""The application: it owns the settings and the store. Its base classes declare on it, hook into it and enqueue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Self, Unpack

import msgspec

from posthorse import ids
from posthorse.app.configure import load
from posthorse.app.declaring import DeclaresWork
from posthorse.app.enqueue_many import EnqueuesMany
from posthorse.app.hooks import TakesHooks
from posthorse.app.job import Job
from posthorse.app.jobs import Jobs
from posthorse.app.option_signatures import takes
from posthorse.app.pickling import application_at, variable_of
from posthorse.app.reads_events import ReadsEvents
from posthorse.app.sending import SendsEvents
from posthorse.app.store_origin import Origin
from posthorse.app.submitting import AddsChildren
from posthorse.app.unserved_warnings import UnservedWarnings
from posthorse.app.verbs import Verb, twin, verb
from posthorse.clock import Clock
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.other_systems import no_attribute
from posthorse.rules.packing import Codec, Packing
from posthorse.rules.registry import Registry
from posthorse.rules.search.keywords import Words, make_filter
from posthorse.rules.settings import Settings
from posthorse.rules.tuning import Tuning
from posthorse.rules.values.type_mismatch import short
from posthorse.store.admission import Admission
from posthorse.store.store import Store

if TYPE_CHECKING:
    from posthorse.app.option_types import SettingOptions
    from posthorse.views.figures import By, Figures
    from posthorse.worker.embedded import EmbeddedWorker


class Posthorse(DeclaresWork, TakesHooks, EnqueuesMany, AddsChildren, ReadsEvents, SendsEvents):
    """An application with background jobs: declare kinds of jobs on it, enqueue them, and read and steer them.

    ::

        app = ph.Posthorse("sqlite:///shop.db")


        @app.job
        def welcome(user_id: int) -> None: ...

    url: the address of the store, `sqlite:///file.db` or `postgresql://…`. Without it, `$POSTHORSE_URL` counts, then
    `posthorse.toml` or `posthorse.yaml`, then `sqlite:///posthorse.db`.
    settings: by name; those that are not given come from the environment and the file, too.

    codecs: what packs arguments, results, errors and the like before they are stored; see `ph.Codec`.

    One application can be used from threads, coroutines and forked children. It opens the store at the first use.
    Raises InvalidSettings, InvalidOption.
    """

    @takes(OptionPlace.SETTING, defaults=msgspec.structs.asdict(Settings()))
    def __init__(
        self,
        url: str | None = None,
        *,
        clock: Clock | None = None,
        tuning: Tuning | None = None,
        codecs: Sequence[Codec] = (),
        **settings: Unpack[SettingOptions],
    ) -> None:
        given = settings if url is None else {"url": url, **settings}
        self.settings, said_of_queues, self.origin = load(given)
        self.registry = Registry()
        self.registry.packing = Packing(codecs)
        self.registry.queues.read_file(said_of_queues)
        self.store = Store(
            self.settings.url,
            schema=self.settings.schema,
            clock=clock,
            tuning=tuning,
            timeout=self.settings.store_timeout,
            is_named=self.origin.is_named,
        )
        self.gate = Admission(self.store, self.registry.queues)
        self.unserved_warnings = UnservedWarnings()
        self.bundles = []

    if not TYPE_CHECKING:  # a type checker that saw it would accept misspelt methods

        def __getattr__(self, name: str) -> object:
            raise no_attribute(self, "an application", name)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return application_at, variable_of(self)

    @property
    def _app(self) -> Self:
        return self

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    def get_job(self, job_id: str) -> Job[object]:
        """Return the handle of a job, without using the store. Raises InvalidOption for what cannot be an id.

        The id is looked up by the first method that needs it, which raises JobNotFound.
        """
        return Job(self, _checked_id(job_id))

    def jobs(self, wanted: str = "", **words: Unpack[Words]) -> Jobs:
        """Select jobs by a filter, to read or steer them together: `app.jobs("state:failed kind:mail*").retry()`.

        The filter is a text, keyword arguments, or both: `app.jobs("-tag:test", kind="mail*", age=">2h")`. Its words
        are in the documentation under Filters. This does not use the store. Raises InvalidOption.
        """
        return Jobs(self, make_filter(wanted, words))

    @verb
    def figures(
        self, *, since: datetime | Duration = "1d", until: datetime | Duration = 0, by: By = "kind"
    ) -> Verb[Figures]:
        """Read what happened within a time: `app.figures(since="1h", by="queue")`.

        since, until: aware datetimes, or how long ago: "1h", 90, a timedelta. By default the last day.
        by: what the rows are for: "kind", "queue", "tenant" (with the setting `tenant_figures`), "minute", "hour" or
            "day".

        Runners write figures every ten seconds, so the last moments are not complete. Where minutes were folded into
        hours and hours into days, a time counts as a whole if any of it lies within. Raises InvalidOption.
        """
        from posthorse.app.figures import figures_of  # here, because most processes that enqueue read no figures

        return figures_of(self, since, until, by)

    afigures = twin(figures)

    # ── running ──────────────────────────────────────────────────────────────────────────────────────

    def worker(
        self,
        *,
        queues: Sequence[str] = (),
        concurrency: int = 10,
        labels: Mapping[str, str] | None = None,
        metrics: bool = False,
    ) -> EmbeddedWorker:
        """Make a worker that runs inside this process, for applications and tests: `with app.worker(): …`.

        queues: those that it serves; by default all that its labels fit.
        concurrency: how many jobs it runs at the same time.
        labels: what queues may require of it, such as `{"gpu": "yes"}`.
        metrics: whether it counts its jobs; see `worker.metrics`.

        It has no supervisor. So a job that holds the interpreter lock for longer than the lease loses its lease and is
        retried, and whatever the first run still does has no effect.
        """
        from posthorse.worker.embedded import (
            EmbeddedWorker,  # here, because most processes that enqueue run no worker
        )

        return EmbeddedWorker(
            self.store,
            self.registry,
            self.settings,
            queues=queues,
            concurrency=concurrency,
            labels=labels,
            measures=metrics,
        )

    def migrate(self) -> int:
        """Create or migrate the schema; return the number of steps taken.

        Run it when you deploy, before the new workers start; running it again does nothing. A SQLite store also
        migrates itself at its first use. Raises SchemaMismatch if a newer Posthorse made the schema, StoreUnreachable.
        """
        return self.store.migrate()

    def use_url(self, url: str) -> None:
        """Use another store from now on; existing handles then refer to the new one."""
        self._stop_following()
        self.store.close()
        self.settings = msgspec.structs.replace(self.settings, url=url)
        self.origin = Origin(url, is_named=True, is_in_code=True, overruled=self.origin.overruled)
        self.store = Store(
            url,
            schema=self.settings.schema,
            clock=self.store.clock,
            tuning=self.store.tuning,
            timeout=self.settings.store_timeout,
            emitter=self.store.emitter,
        )
        self.gate = Admission(self.store, self.registry.queues)

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self._stop_following()
        self.store.close()


def _checked_id(value: object) -> str:
    if isinstance(value, str) and ids.is_id(value.lower()):
        return value.lower()
    raise InvalidOption(f"{short(value)} is not a job id; ids look like 01936f5e-7c1a-7d2b-8e3f-0123456789ab")
