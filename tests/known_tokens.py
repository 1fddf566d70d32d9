"""Somebody who knows one token, "of-alice", for tests that log in with one."""

from twisted_mta.protocol.sasl.bearer import TokenAdvice


class KnownTokens:
    """See `wire.login.Vouching`."""

    advice = TokenAdvice("mail", "https://id.a.test/.well-known/openid-configuration")

    async def account(self, token, service):
        return "alice@a.test" if token == "of-alice" else None
