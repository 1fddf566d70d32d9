"""What is counted, and the text that it becomes: bounded, and read by Prometheus' own parser."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.metrics.counts import Counts, Histogram
from twisted_mta.metrics.exposition import counter, exposition, gauge, histogram
from twisted_mta.metrics.mail import MOST_FOLLOWED, MailCounts

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client reads what we write")


def read(families):
    """Samples by name and labels, as Prometheus understands them."""
    text = exposition(families).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.lists(st.floats(allow_nan=False, min_value=-10, max_value=10), max_size=50))
def test_a_histogram_counts_each_value_in_the_first_bucket_that_holds_it(values):
    bounds = (0.0, 1.0, 2.5)
    found = Histogram(bounds)
    for value in values:
        found.observe(value)
    samples = read([histogram("x_seconds", "X.", found)])
    for bound in (*bounds, math.inf):
        label = "+Inf" if bound == math.inf else repr(bound)
        assert samples["x_seconds_bucket", ("le", label)] == sum(value <= bound for value in values)
    assert samples[("x_seconds_count",)] == len(values)
    assert samples[("x_seconds_sum",)] == pytest.approx(sum(values))


@given(st.text(), st.floats(allow_nan=False))
def test_any_label_and_any_number_is_read_as_it_was_written(label, value):
    label = label.encode("utf-8", "replace").decode().replace("\r", "")  # the parser takes lines apart there
    label = "".join(letter for letter in label if letter.isprintable() or letter == "\n")
    samples = read([gauge("x", "X.", {(("name", label),): value})])
    assert samples == {("x", ("name", label)): value}


def test_what_has_nothing_to_tell_is_known_by_name():
    text = exposition([counter("x_total", "X.", {})]).decode()
    assert [family.name for family in parser.text_string_to_metric_families(text)] == ["x"]


def test_counts_are_bounded():
    counts = Counts(most=2)
    for key in ("a", "b", "c", "a", "d"):
        counts.add(key)
    assert counts.by == {"a": 2, "b": 1} and counts.rest == 2


class House:
    def __init__(self, *checks):
        self.now = 0.0
        self.journey = Journey()
        self.counts = MailCounts(checks, seconds=lambda: self.now)
        self.journey.add_reader(self.counts)

    def samples(self):
        return read(self.counts.families())


def test_the_way_of_a_message_is_counted_and_timed():
    house = House()
    to = (Address.parse("bob@a.test"), Address.parse("cid@c.test"))
    house.journey.tell("accepted", "X", account="", size=800, recipients=2, to=to, tls="TLSv1.3 TLS_AES_128")
    house.journey.tell("accepted", "Y", account="ann@a.test", size=10, recipients=1, client="outbox")
    house.now += 0.2
    house.journey.tell("delivered", "X", to=to[0], mailbox="Junk", junk="a filter says so")
    house.journey.tell("relayed", "X", to=to[1], tls="")
    house.journey.tell("deferred", "Y", to=to[1])
    house.journey.tell("done", "X")
    house.journey.tell("done", "of before the start")
    samples = house.samples()
    assert samples["mta_messages_accepted_total", ("by", "reception")] == 1
    assert samples["mta_messages_accepted_total", ("by", "submission")] == 1
    assert samples["mta_message_octets_total", ("by", "reception")] == 800
    assert samples["mta_message_recipients_total", ("by", "reception")] == 2
    assert samples["mta_accepted_tls_total", ("tls", "TLSv1.3")] == 1
    assert samples["mta_relayed_tls_total", ("tls", "none")] == 1
    assert samples["mta_outcomes_total", ("outcome", "delivered")] == 1
    assert samples["mta_outcomes_total", ("outcome", "deferred")] == 1
    assert samples[("mta_junk_delivered_total",)] == 1
    assert samples[("mta_transit_seconds_count",)] == 1
    assert samples["mta_transit_seconds_bucket", ("le", "0.1")] == 0
    assert samples["mta_transit_seconds_bucket", ("le", "0.25")] == 1


def test_messages_on_their_way_take_bounded_memory():
    house = House()
    for number in range(MOST_FOLLOWED + 10):
        house.journey.tell("accepted", str(number), account="", size=1, recipients=1, tls="")
    for number in range(MOST_FOLLOWED + 10):
        house.journey.tell("done", str(number))
    samples = house.samples()
    assert samples[("mta_transit_seconds_count",)] == MOST_FOLLOWED
    assert samples["mta_messages_accepted_total", ("by", "reception")] == MOST_FOLLOWED + 10


def test_findings_count_by_method_and_result_alone():
    house = House("greylist")
    house.journey.tell(
        "judged",
        "X",
        junk="",
        findings="dmarc=fail for a.test (x; spf=odd), 0.002 s; spf=pass for ann@a.test; dkim=pass; "
        "dkim=none; arc=whatever for b.test; greylist: defer +1.0 (new), 0.001 s; mine: accept, 0.1 s",
    )
    samples = house.samples()
    found = {key[1:]: value for key, value in samples.items() if key[0] == "mta_trust_findings_total"}
    assert found == {
        (("method", "dmarc"), ("result", "fail")): 1,
        (("method", "spf"), ("result", "pass")): 1,
        (("method", "dkim"), ("result", "pass")): 1,
        (("method", "dkim"), ("result", "none")): 1,
    }
    said = {key[1:]: value for key, value in samples.items() if key[0] == "mta_trust_checks_total"}
    assert said == {
        (("action", "defer"), ("check", "greylist")): 1,
        (("action", "accept"), ("check", "other")): 1,
    }


def test_no_word_of_a_stranger_becomes_a_label():
    house = House()
    for number in range(300):
        evil = f'evil{number}"\n'
        house.journey.tell("refused", client=evil, reply=f"{evil} 5.7.1 no", reverse_path=evil)
        house.journey.tell(
            "judged", "X", findings=f"{evil}=pass; spf={evil}; evil{number}: reject", junk=evil
        )
        house.journey.tell("relayed", "X", to=evil, host=evil, tls=evil)
        house.journey.tell("login-failed", service="imap", peer=evil, login=evil)
    text = exposition(house.counts.families())
    assert b"evil" not in text and text.count(b"\n") < 120
    samples = house.samples()
    assert samples["mta_login_failures_total", ("service", "imap")] == 300
    assert samples["mta_refusals_total", ("code", "other")] == 300
    assert samples["mta_relayed_tls_total", ("tls", "other")] == 300
    assert samples["mta_trust_checks_total", ("action", "reject"), ("check", "other")] == 300


def test_logins_bans_and_refusals():
    house = House()
    house.journey.tell("login", service="pop3", peer="192.0.2.1", account="ann@a.test")
    house.journey.tell("banned", range="192.0.2.1/32", seconds=300, grade=1, service="pop3")
    house.journey.tell("refused", client="192.0.2.1", reply="451 4.7.1 later")
    house.journey.tell("host-failed", "X", host="mx.b.test", at="connect")
    samples = house.samples()
    assert samples["mta_logins_total", ("service", "pop3")] == 1
    assert samples["mta_bans_total", ("kind", "address")] == 1
    assert samples["mta_bans_total", ("kind", "login")] == 0
    assert samples["mta_refusals_total", ("code", "451")] == 1
    assert samples["mta_hosts_failed_total", ("at", "connect")] == 1
