"""What the parts of a running server are told when its configuration is read again, without a server."""

from collections.abc import Callable
from pathlib import Path

from process import to_toml

from twisted_mta.service.options.config import Config, load
from twisted_mta.service.reload import Reload, Taker


class House:
    """A configuration's file, and two parts that follow it; `domains` only while the first stays the same."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "mta.toml"
        self.write()
        self.bans = self.domains = load(self.path)  # what each has taken
        takers = [Taker(("bans", "rates"), self.ban), Taker(("domains",), self.serve)]
        self.reload = Reload(load(self.path), self.path, takers)

    def write(self, **tables: object) -> None:
        standard = {"hostname": "mx.a.test", "data_dir": "data", "domains": ["a.test"]}
        self.path.write_text(to_toml({**standard, "listen": {"smtp": ["127.0.0.1:2525"]}, **tables}))

    def ban(self, after: Config) -> Callable[[], None]:
        def change() -> None:
            self.bans = after

        return change

    def serve(self, after: Config) -> Callable[[], None] | None:
        def change() -> None:
            self.domains = after

        return change if after.domains[0] == self.domains.domains[0] else None


def test_no_part_sees_what_counts_after_a_restart(tmp_path: Path) -> None:
    house = House(tmp_path)
    changed = {"hostname": "new.a.test", "limits": {"lag": 9}}
    house.write(**changed)
    outcome = house.reload.now()
    assert (outcome.taken, set(outcome.restart)) == ((), {"hostname", "limits.lag"})
    house.write(**changed, bans={"failures": 11})
    outcome = house.reload.now()
    assert (outcome.taken, set(outcome.restart)) == (("bans.failures",), {"hostname", "limits.lag"})
    assert (house.bans.bans.failures, house.bans.hostname, house.bans.limits.lag) == (11, "mx.a.test", 2)
    house.write(**changed, bans={"failures": 11}, domains=["a.test", "b.test"])
    assert house.reload.now().taken == ("domains",)
    assert (house.domains.domains, house.domains.hostname) == (("a.test", "b.test"), "mx.a.test")
    assert house.domains.bans.failures == 11
    house.write()
    outcome = house.reload.now()
    assert (set(outcome.taken), outcome.restart) == ({"bans.failures", "domains"}, ())


def test_what_one_part_cannot_follow_no_other_sees(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.write(domains=["b.test", "a.test"], bans={"failures": 11})
    outcome = house.reload.now()
    assert (outcome.taken, outcome.restart) == (("bans.failures",), ("domains",))
    assert (house.bans.bans.failures, house.bans.domains) == (11, ("a.test",))
