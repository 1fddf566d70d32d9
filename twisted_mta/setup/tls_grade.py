"""Which TLS a listener speaks, in words: TLS 1.2 and 1.3 with forward secrecy are right, what is older or
weaker is to be refused (RFC 9325 §3.1, §4.1, RFC 8996). Blocks.

What this machine's OpenSSL cannot speak itself cannot be tried, and the words say so.
"""

from __future__ import annotations

import ssl
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

from twisted_mta.setup.dialog import PATIENCE, NoAnswer, Place, handshake, lenient
from twisted_mta.setup.finding import Finding

_ALL = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
_WEAK = "aNULL:eNULL:LOW:3DES:RC4:MD5:kRSA:kPSK:@SECLEVEL=0"  # no forward secrecy, no authentication, broken
_TLS_1_0, _TLS_1_1 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
_TLS_1_2, _TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
_ATTEMPTS = (
    ("TLS 1.0", _TLS_1_0, _ALL),
    ("TLS 1.1", _TLS_1_1, _ALL),
    ("weak ciphers", _TLS_1_2, _WEAK),
    ("1.3", _TLS_1_3, ""),
    ("1.2", _TLS_1_2, ""),
)
_BAD = ("TLS 1.0", "TLS 1.1", "weak ciphers")
_alone = threading.Lock()  # what becomes of a warning is the same for all threads


def grade(subject: str, place: Place, patience: float = PATIENCE) -> Finding:
    """Of a place with TLS that answers."""
    with ThreadPoolExecutor(len(_ATTEMPTS)) as threads:  # at the same time: port 25 makes strangers wait
        attempts = {
            words: threads.submit(_speaks, place, version, ciphers, patience)
            for words, version, ciphers in _ATTEMPTS
        }
    faults, untried = [], []
    for words in _BAD:
        try:
            spoken = attempts[words].result()
        except ssl.SSLError:
            untried.append(words)
            continue
        if spoken:
            faults.append(f"{words} {'are' if words.endswith('s') else 'is'} accepted ({spoken})")
    if faults:
        return Finding(subject, "wrong", f"{', '.join(faults)}; see what stands in front of this server")
    good = [words for words in ("1.3", "1.2") if attempts[words].result()]
    if not good:
        return Finding(subject, "wrong", "neither TLS 1.2 nor 1.3 is spoken")
    text = f"TLS {' and '.join(good)} with forward secrecy; older versions and weak ciphers are refused"
    text += f" (not tried, since this machine does not have them: {', '.join(untried)})" if untried else ""
    if "1.3" not in good:
        return Finding(subject, "warning", f"{text}. TLS 1.3 is missing")
    return Finding(subject, "ok", text)


def _speaks(place: Place, version: ssl.TLSVersion, ciphers: str, patience: float) -> str:
    """The cipher of a handshake with this version; "" when it is refused. Raises ssl.SSLError when we cannot
    speak that ourselves."""
    context = lenient()
    with _alone, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that these versions are old is the point
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
        context.minimum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    try:
        return handshake(place, context, patience).cipher
    except NoAnswer as error:
        if "available" in str(error):  # no protocols, no ciphers: on our side
            raise ssl.SSLError(str(error)) from error
        return ""
