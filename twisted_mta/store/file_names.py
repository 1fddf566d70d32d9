"""File names follow the index: `cur`, and the letters of the flags and keywords of the index.

A change of flags is committed and told first. The files are renamed some moments later (see `Account.tidy`):
most sessions change the same few messages more than once, and a message that is expunged meanwhile needs no
new name. It is done in slices, between which others have their turn. Which messages are behind stands in the
index (`BehindRows`), so that a crash or a restart only delays it. A row keeps the name as last seen on disk;
what other programs do to the file meanwhile is the difference between that name and the one that is found, so
nothing of it is lost.
"""

from __future__ import annotations

from twisted_mta.store.folder import Folder
from twisted_mta.store.maildir import CUR

SLICE = 200  # messages that are looked at in one go


def catch_up(folder: Folder) -> bool:
    """Give a slice of the messages that are behind their names. False when there are none left.

    Raises OSError, sqlite3.Error."""
    span = folder.index.behind.first(folder.id)
    if span is None:
        return False
    messages = folder.index.messages_between(folder.id, *span, SLICE)
    undisturbed = folder.undisturbed()
    places = []
    astray = False
    if folder.give_letters(sorted({keyword for each in messages for keyword in each.keywords.split()})):
        messages = folder.index.messages_between(folder.id, *span, SLICE)  # with what letters tell by now
    for message in messages:
        tail = folder.tail_for(message)
        if (message.directory, message.tail) == (CUR, tail):
            continue
        try:
            found = folder.rename(message, tail)
        except OSError as error:  # the index has the flags all the same
            folder.report(f"{folder.file(message)}: {error}")
            continue
        if found:
            places.append((CUR, tail, message.uid))
        astray = astray or not found
    with folder.committing(undisturbed):
        folder.index.place(folder.id, places)
        if not astray:
            reached = messages[-1].uid if len(messages) == SLICE else span[1]
            folder.index.behind.done(folder.id, *span, reached)
    if astray:
        folder.scan()  # another program renamed them this very moment: once more, from where they are now
    return folder.index.behind.first(folder.id) is not None
