"""Sieve: lexer, parser, validator and a run of a script over a message."""

from __future__ import annotations

import re

from harness import harness
from sieve_house import MESSAGE_A, mail

from twisted_mta.sieve.actions import Discard, Keep
from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.glob import Glob
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.mailto import MAX_RECIPIENTS, parse_mailto
from twisted_mta.sieve.regex import quoted
from twisted_mta.sieve.run import Limits
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.world import World

FEW = Limits(steps=300, cpu=0.5, actions=10, text=500, variables=20, memory=5000, includes=5, depth=3)
WORDS = rb"""
        require\_["fileinto","variables"]; if\_ elsif else allof( anyof( not true false header :matches
        :contains :is :regex :count :value "ge" "i;octet" :comparator address :localpart :domain
        envelope exists size :over 100K "*a?" "${1}" "${a}" set :upper :length :quotewildcard :encodeurl
        keep; discard; stop; fileinto :copy :flags :create redirect "a@b.test"; vacation :days :seconds
        :addresses :handle :mime text:\r\nx\r\n.\r\n notify :message "mailto:a@b?subject=x" addheader
        :last deleteheader :index foreverypart :name { } break extracttext :first replace enclose body
        :raw :text :content "text" date :zone "+0100" currentdate "iso8601" environment ihave error
        include :global :optional :once return global spamtest virustest :percent duplicate :uniqueid
        imap4flags setflag addflag removeflag hasflag mailboxexists metadata servermetadata
        specialuse_exists valid_ext_list :list valid_notify_method notify_method_capability
        encoded-character "${hex:41_42}" "${unicode:263a}" subaddress :user :detail editheader
        relational regex mime :anychild :param #\_c\r\n /* */ [ ] , ; ereject reject "\\""
        "comparator-i;ascii-numeric"
    """


class House(World):
    """Includes the script itself."""

    text = b""

    def script(self, name, location):
        return self.text if name != "none" else None

    def in_list(self, name, value):
        return "a" in value

    def list_exists(self, name):
        return True

    def list_addresses(self, name):
        return ["x@b.test"]

    def spam_score(self):
        return 50


@harness(words=WORDS, tests=150)
def sieve_script(data):
    """A text is a script, or SieveError with a place in it; a run never raises, keeps to its limits,
    and a script with an error keeps the message and does nothing else."""
    try:
        script = Script(data)
    except SieveError as error:
        lines = data.decode("utf-8", "replace").split("\n")
        assert 1 <= error.line <= len(lines) + 1 and error.column >= 1, (error.line, error.column)
        assert str(error)
        return
    house = House()
    house.text = data
    message = mail(MESSAGE_A)
    result = script.run(message, SieveEnvelope("a@b.test", "c+d@a.test"), house, FEW)
    assert len(result.actions) <= FEW.actions + 1
    if result.error is not None:
        assert result.actions == (Keep(implicit=True),) and str(result.error)


@harness(words=WORDS, longest=2048, tests=25)
def sieve_message(data):
    """A script that looks at everything runs over any message without an error, but for what would grow
    beyond its limits."""
    script = Script(LOOKS)
    header, _, body = data.partition(b"\r\n\r\n")
    message = Mail(header + b"\r\n\r\n", len(data), lambda: body)
    result = script.run(message, SieveEnvelope("a@b.test", "c@a.test"), World(), Limits())
    assert result.error is None or "grows too long" in str(result.error), result.error


@harness(words=rb"* ? \\ \\* a b *a ab? ?* \n \xc3\xa9 ** ??", longest=120)
def sieve_patterns(data):
    """A pattern matches as one that tries all there is says it does, and the places that its wildcards stand
    for, put in, make the text; a quoted text is an expression for itself alone. The first line is the
    pattern."""
    # What is compared with tries everything, which takes its time.
    written, _, rest = data[:300].decode("utf-8", "replace").partition("\n")
    for text in (rest, rest.replace("\n", "a"), re.sub(r"\\(.)", r"\1", written.replace("*", "ab"))):
        places = Glob(written).match(text)
        pieces = re.findall(r"\\.|[*?]|.", written, re.DOTALL)
        assert (places is not None) == fits(pieces, text), (written, text)
        if places is None:
            continue
        found = iter(text[start:end] for start, end in places)
        made = "".join(next(found) if piece in ("*", "?") else piece[-1] for piece in pieces)
        assert made == text and next(found, None) is None
        assert all(start <= end for start, end in places)
    expression = quoted(rest[:40])
    script = 'require ["regex", "variables"]; if string :regex "${unset}%s" "%s" { discard; }'
    if expression and not set(expression) & set('"\\\r\n\0$'):
        result = Script((script % (rest[:40], f"^{expression}$")).encode()).run(
            mail(MESSAGE_A), SieveEnvelope("", "c@a.test"), World(), Limits()
        )
        assert result.actions == (Discard(),), (rest, result)


def fits(pieces, text):
    """Whether the whole text is what the pieces mean, step by step for all places at once."""
    places = {0}
    for piece in pieces:
        if piece == "*":
            places = set(range(min(places), len(text) + 1)) if places else set()
        else:
            wanted = None if piece == "?" else piece[-1]
            places = {place + 1 for place in places if place < len(text) and wanted in (None, text[place])}
    return len(text) in places


@harness(
    words=rb"""
        mailto: ?subject= &body= &cc= &to= %40 %0D%0A %C3%A9 &x-a= &from= , a@b.test #
    """,
    longest=2048,
)
def mailto_uri(data):
    """A URI is a few addresses and fields that stay on their lines, none of which tells of a way, or
    ValueError."""
    try:
        found = parse_mailto(data.decode("latin-1"))
    except ValueError:
        return
    assert len(found.to) + len(found.cc) <= MAX_RECIPIENTS
    for text in (found.subject or "", *(text for field in found.fields for text in field)):
        assert not set(text) & set("\r\n\0")
    assert not {"From", "Received", "Bcc", "Content-type"} & {name for name, _ in found.fields}


LOOKS = rb"""require ["variables", "fileinto", "body", "date", "mime", "foreverypart", "extracttext",
"relational", "regex", "index", "comparator-i;ascii-numeric", "editheader", "enclose", "subaddress",
"imap4flags", "vacation", "copy"];
if header :matches ["subject", "from"] "*a*" { set :upper "x" "${1}"; addflag "${x}"; }
if address :all :contains ["from", "to", "cc"] "@" { addflag "a"; }
if address :user :regex "to" "(.*)b" { addflag "${1}"; }
if header :mime :anychild :param "charset" :contains "content-type" "u" { addflag "b"; }
if header :count "ge" :comparator "i;ascii-numeric" "received" "2" { addflag "c"; }
if body :text :contains ["x", "y"] { addflag "d"; }
if body :content "text" :matches "*z*" { addflag "e"; }
if body :raw :contains "--" { addflag "f"; }
if date :value "ge" "date" "hour" "12" { addflag "g"; }
if header :index 1 :last :value "gt" :comparator "i;ascii-numeric" "x-spam" "5" { addflag "h"; }
if size :over 1K { addflag "i"; }
foreverypart { if header :mime :type "content-type" "text" { extracttext :first 50 "t"; addflag "${t}"; } }
if exists "list-id" { fileinto :copy "${x}"; }
addheader "X-A" "${x}";
deleteheader :contains "received" "by";
enclose :subject "s" "text";
vacation "away";
keep;
"""
