"""The tables of an account's index, in numbered migrations.

The first migration was released: databases of that version are in use. A migration is never changed, only
followed by another one.

An email is a content, whichever mailboxes hold it: COPY and MOVE within the account keep it. Its number is
given by the account, never twice (`facts`: next_email). What is known of the content stands in `emails` and
`structures` once it has been read; before, an email is only a number in `messages`.
"""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE mailboxes (
        id INTEGER PRIMARY KEY,             -- never used again, even by the next index of this account
        name TEXT NOT NULL UNIQUE,
        directory TEXT NOT NULL UNIQUE,
        uid_validity INTEGER NOT NULL,
        uid_next INTEGER NOT NULL,
        uid_reserved INTEGER NOT NULL,      -- durable: every UID given so far is below it
        recent_from INTEGER NOT NULL,       -- the first UID that no session has been told of as recent
        highest_modseq INTEGER NOT NULL,
        special_use TEXT NOT NULL,
        moved_from TEXT,                    -- a rename under way: the directory's old name
        new_stamp INTEGER NOT NULL,         -- modification times of new and cur, in nanoseconds, when
        cur_stamp INTEGER NOT NULL,         -- index and directories last agreed
        settled INTEGER NOT NULL            -- 1: no later change can hide behind the same times
    );
    CREATE TABLE messages (
        mailbox INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        name TEXT NOT NULL,                 -- base name of the file
        directory TEXT NOT NULL,            -- new or cur
        tail TEXT NOT NULL,                 -- what follows it, as last seen
        flags INTEGER NOT NULL,             -- bits of the system flags
        keywords TEXT NOT NULL,             -- sorted, a space between
        size INTEGER NOT NULL,              -- octets with CRLF
        internal_date REAL NOT NULL,        -- seconds since the epoch
        modseq INTEGER NOT NULL,
        PRIMARY KEY (mailbox, uid)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX messages_by_name ON messages (mailbox, name);
    CREATE TABLE renderings (
        mailbox INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        kind TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (mailbox, uid, kind)
    ) WITHOUT ROWID;
    CREATE TABLE subscriptions (name TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    """
    INSERT INTO facts VALUES ('epoch', lower(hex(randomblob(6))));  -- tells this index from any other
    ALTER TABLE mailboxes ADD COLUMN object_id TEXT NOT NULL DEFAULT '';  -- RFC 8474
    ALTER TABLE mailboxes ADD COLUMN vanished_from INTEGER NOT NULL DEFAULT 0;  -- `vanished` has all after it
    UPDATE mailboxes SET object_id = 'F' || lower(hex(randomblob(8))), vanished_from = highest_modseq;
    ALTER TABLE mailboxes ADD COLUMN letters TEXT NOT NULL DEFAULT '';  -- of keywords: lines `a keyword`
    ALTER TABLE messages ADD COLUMN email INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE messages ADD COLUMN save_date REAL NOT NULL DEFAULT 0;  -- RFC 8514; 0: not known
    UPDATE messages SET email = numbered.email FROM
        (SELECT mailbox, uid, row_number() OVER (ORDER BY mailbox, uid) AS email FROM messages) AS numbered
        WHERE messages.mailbox = numbered.mailbox AND messages.uid = numbered.uid;
    INSERT INTO facts SELECT 'next_email', coalesce(max(email), 0) + 1 FROM messages;
    CREATE INDEX messages_by_email ON messages (email);
    CREATE TABLE vanished (                 -- consecutive UIDs that were expunged in one step
        mailbox INTEGER NOT NULL,
        modseq INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (mailbox, modseq, first)
    ) WITHOUT ROWID;
    CREATE TABLE emails (                   -- those that have been read, see message/overview.py
        id INTEGER PRIMARY KEY,
        thread INTEGER NOT NULL,            -- the number of the email that began it; never changed
        sent REAL,
        sent_day INTEGER,
        subject TEXT NOT NULL,
        base_subject TEXT NOT NULL,
        is_reply INTEGER NOT NULL,
        from_ TEXT NOT NULL,
        "to" TEXT NOT NULL,
        cc TEXT NOT NULL,
        bcc TEXT NOT NULL,
        reply_to TEXT NOT NULL,
        sender TEXT NOT NULL,
        from_mailbox TEXT NOT NULL,
        to_mailbox TEXT NOT NULL,
        cc_mailbox TEXT NOT NULL,
        from_display TEXT NOT NULL,
        to_display TEXT NOT NULL,
        message_id TEXT NOT NULL,
        "references" TEXT NOT NULL,         -- a line each
        preview TEXT NOT NULL               -- RFC 8970
    );
    CREATE INDEX emails_by_thread ON emails (thread);
    CREATE TABLE structures (               -- apart from `emails`, so that a scan of these stays short;
                                            -- may be known before the rest is
        email INTEGER PRIMARY KEY,
        data BLOB NOT NULL
    );
    CREATE TABLE message_ids (              -- which thread a msg-id belongs to
        digest INTEGER PRIMARY KEY,
        thread INTEGER NOT NULL
    );
    CREATE INDEX message_ids_by_thread ON message_ids (thread);
    CREATE TABLE behind (                   -- ranges of UIDs with files whose names are still to follow
        mailbox INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (mailbox, first)
    ) WITHOUT ROWID;
    INSERT INTO behind SELECT mailbox, min(uid), max(uid) FROM messages WHERE keywords != '' GROUP BY mailbox;
    CREATE TABLE loose (email INTEGER PRIMARY KEY);  -- perhaps without a message, to be looked after
    DROP TABLE renderings;                  -- were kept by UID; they are made again when they are asked for
    CREATE TABLE renderings (
        email INTEGER NOT NULL,
        kind TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (email, kind)
    ) WITHOUT ROWID;
    CREATE TABLE annotations (              -- RFC 5464
        mailbox INTEGER NOT NULL,           -- 0: the server's
        owner TEXT NOT NULL,                -- whose private one it is; "": shared
        entry TEXT NOT NULL,                -- in lower case
        value BLOB NOT NULL,
        PRIMARY KEY (mailbox, owner, entry)
    ) WITHOUT ROWID;
    CREATE TABLE access_keys (              -- RFC 4467, see access_keys.py
        mailbox INTEGER PRIMARY KEY,
        key BLOB NOT NULL
    );
    CREATE TRIGGER mailbox_removed AFTER DELETE ON mailboxes BEGIN
        DELETE FROM access_keys WHERE mailbox = old.id;
    END;
    CREATE TABLE usage (octets INTEGER NOT NULL, messages INTEGER NOT NULL);  -- one row, kept by the triggers
    INSERT INTO usage SELECT coalesce(sum(size), 0), count(*) FROM messages;
    CREATE TRIGGER message_added AFTER INSERT ON messages BEGIN
        UPDATE usage SET octets = octets + new.size, messages = messages + 1;
    END;
    CREATE TRIGGER message_removed AFTER DELETE ON messages BEGIN
        UPDATE usage SET octets = octets - old.size, messages = messages - 1;
    END;
    """,
)
