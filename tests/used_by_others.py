"""Names that only others use, for the scan of dead code (vulture). Each group says who does; a name that the
code has no more goes from here, too."""

# Twisted calls or reads them, by its interfaces and base classes.
_.clientConnectionFailed
_.clientConnectionForTLS
_.clientConnectionLost
_.connectionMade
_.connector
_.displayTracebacks
_.doRead
_.endpointForURI
_.getChild
_.handshakeCompleted
_.isLeaf
_.loader
_.logPrefix
_.makeService
_.noisy
_.optParameters
_.postOptions
_.postpath
_.privilegedStartService
_.render_GET
_.render_POST
_.startProducing
_.synopsis
_.tlsProtocol

# expat, re2 and Python's tracebacks read what is set.
_.CharacterDataHandler
_.EndElementHandler
_.EntityDeclHandler
_.StartDoctypeDeclHandler
_.StartElementHandler
_.buffer_text
_.__cause__
_.case_sensitive
_.log_errors
_.longest_match
_.max_mem
_.posix_syntax

# The table of commands in service/commands/cli.py has them by name, that of the queue its method.
_.add_account_commands
_.add_alias_commands
_.add_domain_commands
_.add_import
_.add_list_commands
_.bounce

# Keys of the configuration, answers of the quickstart, bounds by stage: read by their names, all alike.
_.banner
_.pop3s
_.smarthost_password

# Fields of an overview that searches name by what was asked for.
_.bcc
_.from_
_.reply_to
_.sent_day

# Bits that a milter may set and that are offered together with all others (libmilter/mfdef.h).
_.NO_UNKNOWN
_.QUIET_UNKNOWN

# A column of the queue's table, for who looks into it with SQL.
_.last_attempt
