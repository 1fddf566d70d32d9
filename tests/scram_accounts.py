"""What a directory of the tests needs so that people can log in by SCRAM, too; everybody's password is
"secret"."""

from functools import cache

from twisted_mta.protocol.sasl.scram import Keys

SALT = b"as good as any"


@cache
def keys_of(mechanism, password, salt=SALT):
    """With few iterations: tests are in a hurry."""
    return Keys.derive(mechanism, password, salt, 4096)


class ScramAccounts:
    """`account(login)` is the subclass's: an account's name or None."""

    def offers_scram(self):
        return True

    async def scram_keys(self, login, mechanism, service=""):
        known = self.account(login) is not None
        return (
            keys_of(mechanism, "the password of an app"),
            keys_of(mechanism, "secret" if known else "nobody has it"),
        )

    async def account_of_keys(self, login, mechanism, keys, service=""):
        return self.account(login) if keys == keys_of(mechanism, "secret") else None

    async def account_of_login(self, login):
        return self.account(login)
