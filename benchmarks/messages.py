"""Messages as an office gets them, the same ones in every run: threads, two kinds of structure."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from email.utils import formatdate

_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou"]
_START = 1_700_000_000


def _words(source: random.Random, number: int) -> list[str]:
    return ["".join(source.choices(_SYLLABLES, k=source.randint(1, 4))) for _ in range(number)]


class Correspondence:
    """Messages number 1, 2, 3…; `needle` is in the body of every thousandth."""

    needle = "quixotic"

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._vocabulary = _words(self._random, 4000)
        self._people = [(" ".join(_words(self._random, 2)).title(), f"p{n}@example.org") for n in range(200)]
        self._threads: list[tuple[str, list[str]]] = []

    def messages(self, count: int) -> Iterator[bytes]:
        """That many messages, with CRLF line ends."""
        for number in range(1, count + 1):
            yield self._message(number).replace("\n", "\r\n").encode()

    def _message(self, number: int) -> str:
        subject, references = self._thread()
        message_id = f"<{number}.{self._random.getrandbits(48):x}@example.org>"
        (name, address), (to_name, to_address) = self._random.sample(self._people, 2)
        when = formatdate(_START + number * 600 + self._random.randint(-3600, 3600))
        fields = [
            f"Return-Path: <{address}>",
            "Received: from mail.example.org (mail.example.org [192.0.2.7])"
            f"\n\tby mx.a.test with ESMTPS id {number:x}Q\n\tfor <alice@a.test>; {when}",
            f"Received: from [198.51.100.{number % 250}] by mail.example.org with ESMTPSA; {when}",
            f"Date: {when}",
            f"From: {name} <{address}>",
            f'To: "{to_name}" <{to_address}>, alice@a.test',
            f"Cc: {', '.join(other for _, other in self._random.sample(self._people, number % 3 + 1))}",
            f"Subject: {subject}",
            f"Message-ID: {message_id}",
            "User-Agent: Correspondence/1.0",
            "MIME-Version: 1.0",
        ]
        if references:
            fields += [f"In-Reply-To: {references[-1]}", "References: " + "\n ".join(references[-8:])]
        references.append(message_id)
        return "\n".join(fields) + "\n" + self._body(number)

    def _thread(self) -> tuple[str, list[str]]:
        if self._threads and self._random.random() < 0.6:
            subject, references = self._random.choice(self._threads[-300:])
            return f"Re: {subject}", references
        subject = " ".join(self._random.choices(self._vocabulary, k=self._random.randint(2, 8)))
        if self._random.random() < 0.1:
            subject = f"=?utf-8?B?{base64.b64encode(('Größe ' + subject[:20]).encode()).decode()}?="
        self._threads.append((subject, []))
        return self._threads[-1]

    def _body(self, number: int) -> str:
        length = self._random.randint(10, 50)
        lines = [" ".join(self._random.choices(self._vocabulary, k=10)) for _ in range(length)]
        if number % 1000 == 0:
            lines[len(lines) // 2] += f" {self.needle}"
        text = "\n".join(lines) + "\n"
        if number % 2:
            return f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{text}"
        html = "<html><body>" + "".join(f"<p>{line}</p>\n" for line in lines[:10]) + "</body></html>\n"
        boundary = f"=_{number:08x}"
        return (
            f'Content-Type: multipart/alternative; boundary="{boundary}"\n\n'
            f"--{boundary}\nContent-Type: text/plain; charset=utf-8\n\n{text}\n"
            f"--{boundary}\nContent-Type: text/html; charset=utf-8\n\n{html}\n--{boundary}--\n"
        )
