"""Notifications (RFC 5435, RFC 5436), and copies of what is sent (RFC 8580)."""

import pytest
from sieve_house import holds, run

from twisted_mta.message.address import Address
from twisted_mta.sieve.actions import FileCopy, FileInto, Keep, Notify
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.mailto import MAX_RECIPIENTS, parse_mailto
from twisted_mta.sieve.script import Script

BOSS = b"From: The Boss <boss@example.org>\r\nTo: me@example.org\r\nSubject: Now!\r\n\r\n"


def test_the_first_example():
    script = """require ["enotify", "fileinto", "variables"];
    if header :contains "from" "boss@example.org" {
        notify :importance "1" :message "This is probably very important" "mailto:alm@example.com";
        stop;
    }
    if header :contains "to" "sievemailinglist@example.org" {
        if header :matches "Subject" "*" { set "subject" "${1}"; }
        if header :matches "From" "*" { set "from" "${1}"; }
        notify :importance "3" :message "[SIEVE] ${from}: ${subject}" "mailto:alm@example.com";
        fileinto "INBOX.sieve";
    }"""
    important = Notify("mailto:alm@example.com", "", 1, "This is probably very important")
    assert run(script, BOSS).actions == (important, Keep())
    listed = b"From: a@b.test\r\nTo: sievemailinglist@example.org\r\nSubject: re\r\n\r\n"
    told = Notify("mailto:alm@example.com", "", 3, "[SIEVE] a@b.test: re")
    assert run(script, listed).actions == (told, FileInto("INBOX.sieve"))


def test_text_that_is_safe_in_a_uri():
    script = """require ["enotify", "variables"];
    set :encodeurl "body_param" "Safe body&evil=evilbody";
    notify "mailto:tim@example.com?body=${body_param}";"""
    (action, _) = run(script).actions
    assert action.method == "mailto:tim@example.com?body=Safe%20body%26evil%3Devilbody"
    assert parse_mailto(action.method).body == "Safe body&evil=evilbody"
    script = 'require ["enotify", "variables", "fileinto"]; set :upper :encodeurl "a" "ü~"; fileinto "${a}";'
    assert run(script).actions == (FileInto("%C3%9C~"),)


def test_which_methods_there_are():
    def valid(*uris):
        names = ", ".join(f'"{uri}"' for uri in uris)
        return holds(f"valid_notify_method [{names}]", require="enotify")

    assert valid("mailto:") and valid("mailto:a@b.test", "MAILTO:a@b.test?subject=x")
    assert not valid("mailto:", "http://gw.example.net/notify?test")
    assert not valid("xmpp:tim@example.com?message;subject=SIEVE")
    assert not valid("tel:+14085551212") and not valid("")
    assert (
        not valid("mailto:nobody") and not valid("mailto:a@b.test?x") and not valid("mailto:a@b.test?s=%zz")
    )


def test_whether_somebody_is_online_nobody_knows():
    def online(key, uri="mailto:a@b.test", capability="Online"):
        return holds(f'notify_method_capability "{uri}" "{capability}" "{key}"', require="enotify")

    assert online("maybe") and not online("yes") and not online("no")
    assert not online("maybe", uri="tel:1") and not online("maybe", capability="weather")


@pytest.mark.parametrize(
    "script, words",
    [
        ('notify "tel:+14085551212";', '"tel" is no way to notify'),
        ('notify "";', "is no way to notify"),
        ('notify :from "nobody" "mailto:a@b.test";', "has no domain"),
        ('notify :from "a@b.test, c@d.test" "mailto:a@b.test";', "is not one address"),
        ('notify :importance "4" "mailto:a@b.test";', '":importance" is'),
        ('notify :options "x" "mailto:a@b.test";', "is no option"),
    ],
)
def test_what_cannot_be_done_keeps_the_message(script, words):
    changing = script
    for tag in ("from", "importance", "options"):
        if f":{tag}" in script:
            with pytest.raises(SieveError, match=words):
                Script(f'require "enotify"; {script}'.encode())
            value = script.split('"')[1]
            changing = f'set "v" "{value}"; ' + script.replace(f'"{value}"', '"${v}"', 1)
    result = run(f'require ["enotify", "variables"]; {changing}')
    assert result.actions == (Keep(),) and words in str(result.error)


def test_notifications_are_limited_and_the_same_is_once():
    many = "".join(f'notify "mailto:a{number}@b.test";' for number in range(6))
    result = run(f'require "enotify"; {many}')
    assert result.actions == (Keep(),) and "5 notifications" in str(result.error)
    twice = 'notify "mailto:a@b.test"; notify "mailto:a@b.test"; discard;'
    assert len(run(f'require "enotify"; {twice}').actions) == 2


def test_mailto():
    found = parse_mailto(
        "mailto:0123456789@sms.example.net,%22a%20b%22@c.test?to=backup@example.com&cc=d%40e.test"
        "&Subject=gr%C3%BC%C3%9Fe%0D%0AX:y&from=evil@x.test&auto-submitted=no&Received=x&content-type=x"
        "&x-priority=1&body=one%0D%0Atwo+three"
    )
    assert [str(address) for address in found.to] == [
        "0123456789@sms.example.net",
        '"a b"@c.test',
        "backup@example.com",
    ]
    assert found.cc == (Address("d", "e.test"),)
    assert found.subject == "grüße X:y" and found.body == "one\r\ntwo+three"
    assert found.fields == (("X-priority", "1"),)


@pytest.mark.parametrize(
    "uri",
    [
        "mailto:a@b.test?subject=\r\nBcc: x",
        "mailto:a b@c.test",
        "mailto:a@b.test?%0ax=1",
        "mailto:a@b.test?subject=%ff",
        "mailto:a@b.test?body=" + "x" * 3000,
        "mailto:" + ",".join(["a@b.test"] * (MAX_RECIPIENTS + 1)),
        "mailto",
    ],
)
def test_what_is_no_mailto(uri):
    with pytest.raises(ValueError):
        parse_mailto(uri)


# fcc (RFC 8580)


def test_where_copies_go():
    script = """require ["vacation", "fcc", "mailbox", "imap4flags", "special-use"];
    vacation :days 7 :fcc "Sent" :create :flags "\\\\Seen" :specialuse "\\\\Sent" "Gone fishing";"""
    (answer, _) = run(script).actions
    assert answer.copy == FileCopy("Sent", ("\\Seen",), True, "\\Sent")
    script = (
        'require ["enotify", "fcc"]; notify :fcc "INBOX.Sent" :message "You got mail!" "mailto:ken@b.test";'
    )
    (told, _) = run(script).actions
    assert told.copy == FileCopy("INBOX.Sent") and told.text == "You got mail!"
    assert run('require "vacation"; vacation "x";').actions[0].copy is None


@pytest.mark.parametrize(
    "script",
    [
        'require "vacation"; vacation :fcc "a" "x";',
        'require ["vacation", "mailbox"]; vacation :create "x";',
        'require ["vacation", "fcc"]; vacation :fcc "a" :create "x";',
        'require ["enotify", "fcc", "imap4flags"]; notify :flags "a" "mailto:a@b.test";',
    ],
)
def test_tags_that_go_with_a_copy(script):
    with pytest.raises(SieveError):
        Script(script.encode())
