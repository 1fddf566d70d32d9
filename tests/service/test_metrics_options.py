"""[metrics], listen.metrics and [log]: nobody else is to read them by accident."""

from __future__ import annotations

from pathlib import Path

import pytest
from process import to_toml

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import load

LEAST = {"hostname": "mx.a.test", "data_dir": "data", "domains": ["a.test"]}
SMTP = {"smtp": ["127.0.0.1:2525"]}


def loaded(tmp_path: Path, listen, **sections):
    path = tmp_path / "mta.toml"
    path.write_text(to_toml({**LEAST, "listen": listen, **sections}))
    return load(path)


@pytest.mark.parametrize(
    ("listen", "sections", "sentence"),
    [
        (
            {"metrics": ["0.0.0.0:9925"]},
            {},
            "listen.metrics: 0.0.0.0:9925 can be reached by others; write 127.0.0.1, or name in "
            'metrics.networks who may ask, for example ["192.0.2.10"]',
        ),
        (
            {"metrics": ["[2001:db8::1]:9925"]},
            {},
            "listen.metrics: [2001:db8::1]:9925 can be reached by others",
        ),
        (
            {"metrics": ["0.0.0.0:9925"]},
            {"metrics": {"networks": ["0.0.0.0/0"]}},
            "metrics.networks: 0.0.0.0/0 is everybody; name the machines that may ask",
        ),
        ({}, {"metrics": {"networks": ["192.0.2.10"]}}, "listen.metrics: missing"),
        (
            {"metrics": ["127.0.0.1:9925"]},
            {"proxy": {"networks": ["192.0.2.1"], "services": ["metrics"]}},
            "proxy.services: metrics are asked for directly",
        ),
        ({}, {"log": {"format": "xml"}}, "log.format"),
    ],
)
def test_what_is_refused(tmp_path, listen, sections, sentence):
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, {**SMTP, **listen}, **sections)
    assert sentence in str(refused.value)


def test_a_server_that_only_tells_figures_is_none(tmp_path):
    with pytest.raises(ConfigError, match="nothing listens"):
        loaded(tmp_path, {"metrics": ["127.0.0.1:9925"]})


def test_what_is_taken(tmp_path):
    config = loaded(
        tmp_path,
        {**SMTP, "metrics": ["127.0.0.1:9925", "[::1]:9925", "192.0.2.1:9925"]},
        metrics={"networks": ["192.0.2.0/24"]},
        log={"format": "json"},
    )
    assert config.log.format == "json" and len(config.listen.metrics) == 3
