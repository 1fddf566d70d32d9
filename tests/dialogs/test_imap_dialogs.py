"""The dialogs in tests/dialogs/imap4, spoken with a whole session over the real store, line by line and
octet by octet.

`C:` is what a client sends, `S:` what the server answers, line for line; `C2:`/`S2:` is a second client.
`…` in an answer stands for anything within the line. `%` sets the scene: `deliver FILE…` puts messages
from `messages/` into alice's INBOX, `login` skips the greeting and logs in, `no-cleartext` asks for TLS,
`tls` offers it; `tokens`: those of known_tokens.py are good. `!closed` says that the server has ended the
session, `!handshake` is TLS.
"""

import re
from pathlib import Path

from imap_house import ImapCase
from known_tokens import KnownTokens

from twisted_mta.wire.login import LoginMeans

HERE = Path(__file__).parent / "imap4"
DIALOGS = sorted(HERE.glob("*.txt"))


def read(path):
    """(settings, turns) of a dialog file; a turn is (speaker, text)."""
    settings, turns = [], []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("%"):
            settings.append(line[1:].split())
        elif line.startswith("!"):
            turns.append(("!", line[1:]))
        elif match := re.match(r"(C|S)(2?): ?(.*)", line):
            turns.append((match[1] + match[2], match[3]))
        else:
            assert not line or line.startswith("#"), line
    return settings, turns


def pattern(text):
    return "[^\r\n]*".join(map(re.escape, text.split("…"))) + "\r\n"


def message(name):
    """A message from `messages/`, with CRLF line ends."""
    return (HERE / "messages" / name).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class DialogTests(ImapCase):
    async def speak(self, path, by_octet):
        settings, turns = read(path)
        words = {setting[0]: setting[1:] for setting in settings}
        self.listener = self.make_listener(
            tls_context=object() if "tls" in words else None,
            allow_cleartext="no-cleartext" not in words,
            means=LoginMeans(tokens=KnownTokens() if "tokens" in words else None),
        )
        for name in words.get("deliver", ()):
            await self.deliver(message(name))
        talks = {}
        said = {}
        for speaker, text in turns:
            who = speaker[1:]
            if who not in talks:
                talks[who] = await self.logged_in() if "login" in words else self.talk()
                said[who] = ""
            said[who] += talks[who].said().decode("utf-8", "backslashreplace")
            if speaker.startswith("C"):
                assert said[who] == "", f"the server said more than expected before {text!r}"
                said[who] = await self.send(talks[who], text.encode() + b"\r\n", by_octet)
            elif speaker.startswith("S"):
                match = re.match(pattern(text), said[who])
                assert match, f"expected {text!r}, got {said[who]!r}"
                said[who] = said[who][match.end() :]
            elif text == "closed":
                assert said[who] == "" and talks[who].closed
            else:
                assert text == "handshake" and said[who] == "" and talks[who].transport.TLS
        assert not any(said.values()), said

    async def send(self, talk, data, by_octet):
        output = b""
        for piece in [data[n : n + 1] for n in range(len(data))] if by_octet else [data]:
            output += await talk.send(piece)
        return output.decode("utf-8", "backslashreplace")


def _make(path, by_octet):
    async def test(self):
        await self.speak(path, by_octet)

    return test


for _path in DIALOGS:
    _name = _path.stem.replace("-", "_")
    setattr(DialogTests, f"test_{_name}", _make(_path, False))
    setattr(DialogTests, f"test_{_name}_octet_by_octet", _make(_path, True))
