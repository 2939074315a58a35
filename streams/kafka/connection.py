"""Reaching Kafka brokers: parameters for aiokafka's clients, and its errors in the words of the log."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaProducer, errors
from aiokafka.conn import create_conn

from streams.log import LogError, LogUnavailable, Security, UnknownTopic
from streams.retry import PATIENCE_S_MIN, again

T = TypeVar("T")
log = logging.getLogger(__name__)


COMPRESSION: Final = "zstd"
"""Of every batch that we write: requirements of one protocol are alike, so that a batch of them shrinks to less than a
twentieth (a test). Brokers know it since Kafka 2.1."""


def parameters(security: Security) -> dict[str, Any]:
    """The security settings as aiokafka's clients take them.

    Raises:
        LogUnavailable: a certificate or key file cannot be read.
    """
    chosen: dict[str, Any] = {"security_protocol": security.protocol}
    if security.protocol.startswith("SASL"):
        chosen |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password,
        }
    if security.protocol.endswith("SSL"):
        chosen["ssl_context"] = _tls(security)
    return chosen


def _tls(security: Security) -> ssl.SSLContext:
    reading = security.ca_file
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        context.check_hostname = security.check_hostname
        if security.certificate_file is not None:
            reading = security.certificate_file
            context.load_cert_chain(security.certificate_file, security.key_file, security.key_password)
    except OSError as error:  # ssl.SSLError is one
        raise LogUnavailable(f"TLS: cannot use {reading}: {error}") from error
    return context


async def reach(servers: Sequence[str], parameters: dict[str, Any], timeout_seconds: float) -> None:
    """Open a connection to any of the servers and close it again.

    aiokafka's own start says only that it failed; this tells an absent broker from one that refuses us.

    Raises:
        LogUnavailable: with the reason for each server.
    """
    reasons = []
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            async with asyncio.timeout(timeout_seconds / len(servers)):
                connection = await create_conn(
                    host.strip("[]"), int(port), request_timeout_ms=int(timeout_seconds * 1000), **parameters
                )
        except (OSError, errors.KafkaError) as error:  # TimeoutError is an OSError
            reasons.append(f"{server}: {_reason(error, timeout_seconds / len(servers))}")
            continue
        connection.close()
        return
    raise LogUnavailable(f"no Kafka broker can be used ({'; '.join(reasons)})")


def _reason(error: Exception, seconds: float) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, errors.AuthenticationFailedError | errors.SaslAuthenticationFailed):
            return "the broker refuses the user name or password"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS connection: {getattr(cause, 'verify_message', '') or cause.reason or cause}"
        if isinstance(cause, TimeoutError):
            return f"no answer within {seconds:g} s"
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, errors.KafkaConnectionError):
        return (
            f"the connection failed: is {'it really TLS' if 'SSL' in str(error) else 'the protocol right'}? ({error})"
        )
    return str(error) or type(error).__name__


class Guard:
    """``with guard:`` turns aiokafka's errors into those of the log; ``persist`` tries again what may pass."""

    __slots__ = ("_retry_seconds", "_servers")

    def __init__(self, servers: Sequence[str], retry_seconds: float) -> None:
        self._servers = ",".join(servers)
        self._retry_seconds = retry_seconds

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Do what may be done twice, again with growing pauses while the brokers do not answer, for
        ``retry_seconds`` at most: of several one may be down, and aiokafka asks any.

        Raises:
            LogUnavailable: what the last attempt met, and for how long it was tried.
        """

        async def guarded() -> T:
            with self:
                return await attempt()

        def tell(fault: Exception, pause_s: float, waited_s: float) -> None:
            if not pause_s:
                raise LogUnavailable(f"{fault}; tried for {waited_s:.1f} s") from fault
            level = logging.WARNING if waited_s >= PATIENCE_S_MIN else logging.INFO
            log.log(level, "%s; trying again in %g s", fault, pause_s)

        return await again(guarded, (LogUnavailable,), self._retry_seconds, tell)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, errors.UnknownTopicOrPartitionError):
            raise UnknownTopic(f"Kafka at {self._servers}: there is no such topic or partition ({error})") from error
        unreachable = (
            errors.KafkaConnectionError,
            errors.NodeNotReadyError,
            errors.KafkaTimeoutError,
            errors.RequestTimedOutError,
            errors.LeaderNotAvailableError,
            errors.NotEnoughReplicasError,
            errors.StaleMetadata,
            OSError,
        )
        if isinstance(error, unreachable) or (isinstance(error, errors.KafkaError) and error.retriable):
            raise LogUnavailable(f"Kafka at {self._servers} does not answer ({_named(error)})") from error
        if isinstance(error, errors.KafkaError):
            raise LogError(f"Kafka at {self._servers}: {_named(error)}") from error


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def abandon(producer: AIOKafkaProducer) -> None:
    """Give up what a producer has not confirmed. One that is idempotent would go on trying for ever, and its ``stop``
    would wait for it; so its connections are cut, its task ended, and whoever waits is told ProducerClosed.
    """
    producer._closed = True
    sending = producer._sender.sender_task
    await producer.client.close()
    while sending is not None and not sending.done():
        # again and again: it waits for tasks of its own, some of which look for a coordinator for ever
        sending.cancel()
        # its requests have failed and wait for news of the cluster, which nobody fetches any more
        news = producer.client._md_update_fut
        if news is not None and not news.done():
            news.set_result(False)
        await asyncio.wait([sending], timeout=0.05)
    accumulator, transactions = producer._message_accumulator, producer._txn_manager
    waiting = [batch.future for batch in accumulator._pending_batches]
    waiting += [batch.future for queue in accumulator._batches.values() for batch in queue]
    waiting += [transactions._pid_waiter, transactions._transaction_waiter] if transactions is not None else []
    for future in filter(None, waiting):
        if not future.done():
            future.set_exception(errors.ProducerClosed())
        if not future.cancelled():
            future.exception()  # nobody waits for it any more, which asyncio would say
