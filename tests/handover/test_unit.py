"""The systemd unit of the two processes is that of the one, but for the role."""

from pathlib import Path

ETC = Path(__file__).resolve().parents[2] / "etc"


def lines(name: str) -> set[str]:
    return {line for line in (ETC / name).read_text().splitlines() if not line.startswith("#")}


def test_it_differs_only_where_it_must() -> None:
    one, two = lines("twisted_mta.service"), lines("twisted_mta@.service")
    start = "ExecStart=/opt/twisted_mta/bin/twistd -n --pidfile= mta --config /etc/twisted_mta/mta.toml"
    assert one - two == {start, "Description=Mail server twisted_mta"}
    assert two - one == {
        f"{start} --role %i",
        "Description=Mail server twisted_mta (%i)",
        "Conflicts=twisted_mta.service",
    }
