"""The ManageSieve engine: dialogs of RFC 5804, one octet at a time too, and lines that cannot be read."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.managesieve.events import (
    CheckScript,
    GetScript,
    HaveSpace,
    ListScripts,
    Login,
    PutScript,
    RenameScript,
    SetActive,
    StartTls,
    Unauthenticate,
)
from twisted_mta.protocol.managesieve.server import ManageSieveLimits, ManageSieveServer
from twisted_mta.protocol.sasl.bearer import TokenAdvice
from twisted_mta.protocol.sasl.credentials import KeysWanted
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys

PLAIN = 'AUTHENTICATE "PLAIN" "AGFsaWNlAHNlY3JldA=="\r\n'


def engine(**more):
    made = ManageSieveServer(
        hostname="mx.a.test",
        **{
            "secure": False,
            "tls_available": True,
            "offer": lambda: Offer(private=True),
            "extensions": ("fileinto", "vacation"),
            "redirects": 20,
            **more,
        },
    )
    made.greet()
    return made


def converse(server, text, step=None, *, answered=True):
    """What comes of it: events, each answered with OK."""
    data = text.encode() if isinstance(text, str) else text
    events = []
    for start in range(0, len(data), step or len(data) or 1):
        server.receive(data[start : start + (step or len(data))])
        while (event := server.next_event()) is not None:
            events.append(event)
            match event if answered else None:
                case None:
                    return events
                case KeysWanted(mechanism=name):
                    server.provide([Keys.derive(name, "pencil", b64decode("QSXCR+Q6sek8bf92"), 4096)])
                case Login():
                    server.logged_in("alice@a.test")
                case ListScripts():
                    server.scripts(["summer_script", 'a"b'], "summer_script")
                case GetScript():
                    server.script(b"#this is my wonderful script\r\nreject\r\n")
                case Unauthenticate():
                    server.logged_out()
                case StartTls():
                    pass
                case _:
                    server.accept("")
    return events


def test_the_greeting_tells_what_can_be_done():
    assert engine().take_output().decode() == (
        '"IMPLEMENTATION" "twisted_mta"\r\n"SASL" "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN"\r\n'
        '"SIEVE" "fileinto vacation"\r\n'
        '"NOTIFY" "mailto"\r\n"MAXREDIRECTS" "20"\r\n"UNAUTHENTICATE"\r\n"VERSION" "1.0"\r\n"STARTTLS"\r\n'
        'OK "mx.a.test ManageSieve ready"\r\n'
    )
    assert b'"SASL" ""' in engine(offer=lambda: Offer(private=False)).take_output()


@pytest.mark.parametrize("step", [None, 1])
def test_a_whole_session(step):
    server = engine()
    server.take_output()
    events = converse(
        server,
        PLAIN
        + 'HAVESPACE "myscript" 999999\r\nPUTSCRIPT "foo" {32+}\r\n#comment\r\n;InvalidSieveCommand\r\n\r\n'
        + 'putscript {3+}\r\nbar "keep;"\r\nLISTSCRIPTS\r\nSETACTIVE "vac\\"ation"\r\nSETACTIVE ""\r\n'
        + 'GETSCRIPT "x"\r\nRENAMESCRIPT "foo" "bär"\r\nCHECKSCRIPT {5+}\r\nkeep;\r\n'
        + 'NOOP "STARTTLS-SYNC-42"\r\nUNAUTHENTICATE\r\nLOGOUT\r\n',
        step,
    )
    assert events[0].credentials.login == "alice"
    assert events[1:] == [
        HaveSpace("myscript", 999999),
        PutScript("foo", b"#comment\r\n;InvalidSieveCommand\r\n"),
        PutScript("bar", b"keep;"),
        ListScripts(),
        SetActive('vac"ation'),
        SetActive(""),
        GetScript("x"),
        RenameScript("foo", "bär"),
        CheckScript(b"keep;"),
        Unauthenticate(),
    ]
    output = server.take_output().decode()
    assert '"summer_script" ACTIVE\r\n"a\\"b"\r\nOK\r\n' in output
    assert "{38}\r\n#this is my wonderful script\r\nreject\r\n\r\nOK\r\n" in output
    assert 'OK (TAG "STARTTLS-SYNC-42") "Done"\r\n' in output
    assert output.endswith('OK "Bye"\r\n') and server.finished


def test_nothing_about_scripts_before_the_login_and_no_password_in_the_clear():
    server = engine(offer=lambda: Offer(private=False))
    server.take_output()
    assert converse(server, "LISTSCRIPTS\r\n" + PLAIN) == []
    assert server.take_output() == (
        b'NO "AUTHENTICATE first"\r\nNO (ENCRYPT-NEEDED) "Passwords are taken inside TLS only"\r\n'
    )


def test_an_exchange_with_challenges_and_one_called_off():
    server = engine()
    server.take_output()
    (login,) = converse(server, 'AUTHENTICATE "LOGIN"\r\n"YWxpY2U="\r\n{8+}\r\nc2VjcmV0\r\n')
    assert (login.credentials.login, login.credentials.password) == ("alice", "secret")
    other = engine()
    other.take_output()
    assert converse(other, 'AUTHENTICATE "PLAIN"\r\n"*"\r\nNOOP\r\n') == []
    assert other.take_output() == b'""\r\nNO "Authentication cancelled"\r\nOK "Done"\r\n'


RFC_5802 = {  # §5; the client's words and the server's
    "client-first": "biwsbj11c2VyLHI9ZnlrbytkMmxiYkZnT05Sdjlxa3hkYXdM",
    "server-first": "cj1meWtvK2QybGJiRmdPTlJ2OXFreGRhd0wzcmZjTkhZSlkxWlZ2V1ZzN2oscz1RU1hDUitRNnNlazhi"
    "ZjkyLGk9NDA5Ng==",
    "client-final": "Yz1iaXdzLHI9ZnlrbytkMmxiYkZnT05Sdjlxa3hkYXdMM3JmY05IWUpZMVpWdldWczdqLHA9djBYOHYz"
    "QnoyVDBDSkdiSlF5RjBYK0hJNFRzPQ==",
    "server-final": "dj1ybUY5cHFWOFM3c3VBb1pXamE0ZEpSa0ZzS1E9",
}


@pytest.mark.parametrize("step", [None, 1])
def test_scram_and_what_the_server_says_with_success(step):
    """RFC 5804 §2.1: it stands in the response code, which saves a round trip."""
    server = engine(offer=lambda: Offer(private=True, nonce=lambda: "3rfcNHYJY1ZVvWVs7j"))
    server.take_output()
    converse(server, f'AUTHENTICATE "SCRAM-SHA-1" "{RFC_5802["client-first"]}"\r\n', step)
    assert server.take_output().decode() == f'"{RFC_5802["server-first"]}"\r\n'
    converse(server, f'"{RFC_5802["client-final"]}"\r\n', step)
    assert server.take_output().decode() == f'OK (SASL "{RFC_5802["server-final"]}") "Welcome"\r\n'


def test_what_a_mechanism_says_of_a_failure():
    server = engine(offer=lambda: Offer(private=True, tokens=TokenAdvice("mail")))
    server.take_output()
    (login,) = converse(server, 'AUTHENTICATE "OAUTHBEARER" "biwsAWF1dGg9AQE="\r\n', answered=False)
    assert login.credentials.token == ""
    server.login_failed(last=False)
    advice = b64encode(b'{"status":"invalid_token","schemes":"bearer","scope":"mail"}').decode()
    assert server.take_output().decode() == f'"{advice}"\r\n'
    assert converse(server, '"AQ=="\r\nNOOP\r\n') == []
    assert server.take_output() == b'NO "Authentication failed"\r\nOK "Done"\r\n'


def test_starttls_and_what_is_sent_behind_it():
    """Acceptance 22 for ManageSieve."""
    server = engine()
    server.take_output()
    assert converse(server, "STARTTLS\r\n") == [StartTls()]
    server.secured()
    assert b"STARTTLS" not in server.take_output().replace(b"Begin", b"")
    # Whoever was logged in is a stranger again, who may not say much at once.
    known = engine()
    converse(known, PLAIN + "STARTTLS\r\n")
    known.secured()
    known.take_output()
    assert converse(known, f"NOOP {{13000+}}\r\n{'x' * 13000}\r\n") == []
    assert known.take_output() == b'NO "Literal too large"\r\n'
    injected = engine()
    injected.take_output()
    assert converse(injected, "STARTTLS\r\nNOOP\r\n") == [] and injected.finished
    assert injected.take_output().startswith(b"BYE")


@pytest.mark.parametrize(
    "text, answer, finished",
    [
        ("FOO\r\n", b'NO "There is no such command"\r\n', False),
        ('NOOP "a" "b"\r\n', b'NO "Expected 1 arguments"\r\n', False),
        ("NOOP a\r\n", b'NO "Expected a string or a number"\r\n', False),
        ("\r\n", b'NO "Expected a command"\r\n', False),
        ('NOOP "a\\x"\r\n', b'NO "Expected a string or a number"\r\n', False),
        (f"NOOP {{13000+}}\r\n{'x' * 13000}\r\nNOOP\r\n", b'NO "Literal too large"\r\nOK "Done"\r\n', False),
        ("NOOP {99999999999+}\r\n", b'NO "Expected a string or a number"\r\n', False),
        ("NOOP {999999999+}\r\n", b'BYE "Literal too large"\r\n', True),
        ("NOOP {1+}\r\na {1+}\r\nb {1+}\r\n", b'BYE "Too many literals"\r\n', True),
        ("NOOP\n", b'BYE "Lines end in CRLF"\r\n', True),
        ("x" * 17000, b'BYE "Line too long"\r\n', True),
        ("NOOP \0\r\n", b'BYE "NUL in a line"\r\n', True),
        (
            "A\r\n" * 10,
            b'NO "There is no such command"\r\n' * 9 + b'BYE "There is no such command"\r\n',
            True,
        ),
    ],
)
def test_what_cannot_be_read(text, answer, finished):
    server = engine()
    server.take_output()
    assert converse(server, text) == []
    assert (server.take_output(), server.finished) == (answer, finished)


def test_a_script_may_be_large_only_after_the_login():
    server = engine(limits=ManageSieveLimits(script=10_000))
    assert converse(server, PLAIN)[0].credentials.login == "alice"
    (put,) = converse(server, "PUTSCRIPT {1+}\r\na {10000+}\r\n" + "x" * 10_000 + "\r\n")
    assert len(put.text) == 10_000
    server.take_output()
    assert converse(server, "PUTSCRIPT {1+}\r\na {10001+}\r\n" + "x" * 10_001 + "\r\n") == []
    assert server.take_output() == b'NO (QUOTA/MAXSIZE) "Literal too large"\r\n'


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(['"', "{3+}", "\r\n", "NOOP", " ", "a", "\\", "7", "PUTSCRIPT", "\0", "é"]),
        max_size=30,
    )
)
def test_any_line_is_answered_in_whatever_pieces(words):
    data = "".join(words).encode()
    whole, dripped = engine(), engine()
    assert converse(whole, data) == converse(dripped, data, 1)
    assert whole.take_output() == dripped.take_output()
