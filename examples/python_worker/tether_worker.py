"""A Tether worker without Tether, written from docs/wire-protocol.md. Copy this file beside your own:

    import tether_worker

    def greet(request, call):
        return "Hello, " + request["whom"] + "!"

    tether_worker.serve("example.greet", 1, {"greet": greet})

The parent's protocol has `using Codec = tether::JsonCodec`. A handler gets the request as a dict and
the Call, one at a time on the main thread, and returns what json.dumps takes; None where the response
is `void`. Whatever it raises becomes the caller's RemoteError; HandlerError gives that a code.

A protocol whose calls are more than a request and an answer says so, in the order of its declaration:

    tether_worker.serve("example.translate", 1, {"translate": translate, "forget": forget},
                        kinds={"translate": PROGRESS | ITEMS | UPLOAD},
                        callbacks=["meaning"], notifications=["learned"])
"""

import collections, fcntl, json, os, resource, select, signal, socket, struct, sys, threading, time


class HandlerError(Exception):
    """Answers with a code of the program's own."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class CallCancelled(Exception):
    """No caller waits any more: let it end the handler."""


class Call:
    """One running call, as its handler sees it. Any thread may use stop_requested() and log(); the
    rest is for the handler's thread, and raises CallCancelled once no caller waits any more."""

    def __init__(self, desk, request):
        self.desk, self.guard, self.number = desk, desk.guard, request.number
        self.index, self.inbox = request.index, desk.inboxes[request.number]
        self.one_way = request.one_way

    def stop_requested(self):
        """True once no caller waits any more: return early, with anything."""
        return self.guard.leaving or self.number in self.guard.cancelled

    def log(self, line, severity=2):
        """Says something to the parent's Output: 0 trace, 1 debug, 2 info, 3 warning, 4 error."""
        mark = f"\x01{severity}" if self.guard.mark else ""
        print(mark + line.replace("\n", " "), file=sys.stderr, flush=True)

    def progress(self, value):
        """Tells the caller how far this is."""
        if not self.one_way:
            content = encode(value, MAX_PROGRESS)
            self.desk.send(PROGRESS_REPORT, self.index, content, self.number)

    def send(self, item):
        """Sends an item of the stream; waits while the caller is behind."""
        content = encode(item, self.guard.limit)
        self.desk.claim(self.inbox, content, self.stop_requested)
        self.desk.send(ITEM, self.index, content, self.number)

    def items(self):
        """The items of the caller, as they come."""
        inbox = self.inbox
        while True:
            self.desk.wait(lambda: inbox.items or inbox.finished, self.stop_requested)
            if not inbox.items:
                return
            payload, cost = inbox.items.popleft()
            inbox.taken += cost
            if inbox.taken >= WINDOW // 2:
                self.desk.send(OPEN, self.index, struct.pack("<Q", inbox.taken), self.number)
                inbox.left, inbox.taken = inbox.left + inbox.taken, 0
            yield decode(payload)

    def ask(self, callback, question):
        """What the parent answers; raises HandlerError if it cannot."""
        if self.one_way:
            raise HandlerError("one_way", "a request that gets no answer may ask nothing")
        index, answers = self.desk.protocol.callbacks.index(callback), self.desk.answers
        content = encode(question, self.guard.limit)
        number = self.desk.send(QUESTION, index, content, self.number)
        answers[number] = None
        try:
            self.desk.wait(lambda: answers[number], self.stop_requested)
            kind, payload = answers[number]
        finally:
            del answers[number]
        if kind == ERROR:
            raise error_of(payload)
        return decode(payload, None)

    def notify(self, notification, value):
        """Tells the parent, if it has subscribed to that; waits while it is behind."""
        index = self.desk.protocol.notifications.index(notification)
        if index in self.desk.subscribed:
            content = encode(value, self.guard.limit)
            self.desk.claim(self.desk.notices, content, self.stop_requested)
            self.desk.send(NOTIFICATION, index, content, 0)


PROGRESS, ITEMS, UPLOAD = 1, 2, 4  # what calls of a request have


class Protocol:
    """What is served: handlers by the names of the requests, in the order of Messages<...>."""

    def __init__(self, name, version, handlers, kinds, callbacks, notifications):
        self.name, self.version = name, version
        self.names, self.handlers = list(handlers), list(handlers.values())
        self.callbacks, self.notifications = list(callbacks), list(notifications)
        number = lambda value: struct.pack("<Q", value)
        counted = lambda part: number(len(part)) + part.encode()
        listed = lambda names: number(len(names)) + b"".join(map(counted, names))
        parts = counted("json") + listed(self.names)
        if kinds or self.callbacks or self.notifications:
            parts += b"".join(number(kinds.get(name, 0)) for name in self.names)
            parts += listed(self.callbacks) + listed(self.notifications)
        fingerprint = 0xCBF29CE484222325
        for byte in parts:
            fingerprint = (fingerprint ^ byte) * 0x100000001B3 & NO_LIMIT
        self.id = text(name) + struct.pack("<IQ", version, fingerprint)


# --- The wire

HELLO, WELCOME, REQUEST, RESPONSE, ERROR, DATA, ABORT = range(1, 8)
ITEM, PROGRESS_REPORT, QUESTION, NOTIFICATION, OPEN, FINISH, SUBSCRIPTION = range(8, 15)
BOOTSTRAP, CANCEL, STOP, PROBE, FAILED, RUNNING, RESTING = 1, 2, 3, 4, 16, 17, 19
CANCELLED, START_FAILED, MISMATCH, TOO_LARGE, CODEC, HANDLER = 2, 3, 5, 13, 14, 15
NO_LIMIT = (1 << 64) - 1
VERSIONS = [b"\0TETHER1" + struct.pack("<I", version) for version in (1, 1 << 16 | 1)]
MORE, ONE_WAY, MAX_BODY = 1, 4, 1 << 20
WINDOW, HEAD, MAX_PROGRESS = 256 << 10, 40, (16 << 10) - 40


def text(content):
    data = content.encode(errors="backslashreplace")
    return struct.pack("<I", len(data)) + data


def decode(payload, empty={}):
    return json.loads(payload) if payload else empty


def encode(value, limit):
    content = b"" if value is None else json.dumps(value, allow_nan=False).encode()
    if len(content) > limit:
        raise ValueError(f"it has {len(content)} bytes; the limit is {limit}")
    return content


# `call`: what a message of a type from ITEM on is about. `size`: what it costs of a window.
Message = collections.namedtuple("Message", "kind index one_way number call payload size")


class FramingError(Exception):
    """The parent sent what is no message."""


def receive_from(sock):
    try:
        return sock.recv(1 << 16)
    except OSError:  # a parent that died may have left things unread
        return b""


class Connection:
    def __init__(self, sock, limit, guard):
        self.sock, self.limit, self.guard = sock, limit, guard
        self.buffer, self.opened = bytearray(), {}

    def fileno(self):
        return self.sock.fileno()

    def receive(self):
        """False: nothing comes any more."""
        data = receive_from(self.sock)
        self.buffer += data
        return bool(data)

    def next(self):
        """The next complete Message. None: receive more."""
        while len(self.buffer) >= 16:
            size, kind, flags, index, number = struct.unpack_from("<IBBHQ", self.buffer)
            known = MORE | (ONE_WAY if kind == REQUEST else 0)
            if not HELLO <= kind <= SUBSCRIPTION or size > MAX_BODY or flags & ~known:
                raise FramingError()
            if len(self.buffer) < 16 + size:
                return None
            body = self.buffer[16 : 16 + size]
            del self.buffer[: 16 + size]
            if (kind in (DATA, ABORT)) != (number in self.opened) or kind == DATA and not size:
                raise FramingError()
            opening = kind, index, flags & ONE_WAY
            opening, parts = self.opened.pop(number, (opening, bytearray()))
            if kind == ABORT:
                continue
            parts += body
            if len(parts) > self.limit + 24 + 8 * 4096:
                raise FramingError()
            if not flags & MORE:
                call, payload = self.split(parts)
                return Message(*opening, number, call, payload, 16 + len(parts))
            self.opened[number] = opening, parts
        return None

    def split(self, body):
        if len(body) < 24:
            raise FramingError()
        size, call, count, _ = struct.unpack_from("<QQII", body)
        if count > 4096 or len(body) < 24 + 8 * count:
            raise FramingError()
        sizes = [size, *struct.unpack_from(f"<{count}Q", body, 24)]
        if 24 + 8 * count + sum(sizes) != len(body) or sum(sizes) > self.limit:
            raise FramingError()
        at = 24 + 8 * count
        return call, bytes(body[at : at + size])

    def send(self, kind, index, number, payload, call=0):
        body = struct.pack("<QQII", len(payload), call, 0, 0) + payload
        for at in range(0, len(body), MAX_BODY):
            part, more = body[at : at + MAX_BODY], at + MAX_BODY < len(body)
            header = (len(part), DATA if at else kind, MORE if more else 0, index, number)
            self.write(memoryview(struct.pack("<IBBHQ", *header) + part))

    def write(self, data):
        """Waits for room; but not for a parent that wants no answer any more."""
        while data:
            if select.select([], [self.sock], [], 0.1)[1]:
                data = data[self.sock.send(data, socket.MSG_DONTWAIT) :]
            elif self.guard.leaving:
                sys.exit(0)


# --- What the parent says beside the requests, and whether it is still there


class Guard:
    def __init__(self):
        self.control = socket.socket(fileno=3)
        self.buffer, self.cancelled, self.connection = b"", set(), None
        self.leaving, self.leave_pipe, self.running = False, os.pipe(), None
        while (record := self.next()) is None:
            if not self.receive():
                sys.exit(1)
        kind, content = record
        self.magic = content[:12]
        if kind != BOOTSTRAP or self.magic not in VERSIONS:
            sys.exit("no bootstrap of this version")
        at = 12 + 4 + struct.unpack_from("<I", content, 12)[0] + 8
        self.parent_secret, self.worker_secret = content[at : at + 32], content[at + 32 : at + 64]
        at, end = at + 64, at + 64 + 4 + struct.unpack_from("<I", content, at + 64)[0] + 12
        self.wanted = content[at:end]
        flags, _, self.limit, grace_us, self.parent_pid = struct.unpack_from("<IIQQQ", content, end)
        self.limits = struct.unpack_from("<4Q", content, end + 32) if flags & 16 else (NO_LIMIT,) * 4
        self.listening, self.verify, self.mark, self.has_parent = (flags >> i & 1 for i in range(4))
        self.has_ledger = flags >> 7 & 1
        self.grace = min(grace_us / 1e6, threading.TIMEOUT_MAX)
        signal.signal(signal.SIGTERM, lambda *_: self.leave())
        fcntl.fcntl(3, fcntl.F_SETOWN, os.getpid())  # should it be stopped when the parent ends
        fcntl.fcntl(3, fcntl.F_SETSIG, signal.SIGCONT)
        fcntl.fcntl(3, fcntl.F_SETFL, fcntl.fcntl(3, fcntl.F_GETFL) | os.O_ASYNC)
        threading.Thread(target=self.watch, daemon=True).start()

    def receive(self):
        data = receive_from(self.control)
        self.buffer += data
        return bool(data)

    def next(self):
        size = 4 + int.from_bytes(self.buffer[:4], "little")
        if len(self.buffer) < max(size, 5):
            return None
        record, self.buffer = self.buffer[4:size], self.buffer[size:]
        return record[0], record[1:]

    def watch(self):
        poll = select.poll()
        for fd in (3, 5)[: 1 + self.has_parent]:
            poll.register(fd, select.POLLIN)
        while not self.parent_is_gone():
            events = dict(poll.poll(None if self.has_parent else 500))
            if 5 in events or (3 in events and not self.receive()):
                break
            while record := self.next():
                if record[0] == CANCEL:
                    self.cancelled.add(int.from_bytes(record[1], "little"))
                elif record[0] == STOP:
                    self.leave()
                elif record[0] == PROBE:
                    number = int.from_bytes(record[1], "little")
                    self.say(RUNNING if number == self.running else RESTING, record[1])
        self.leave()
        time.sleep(self.grace)
        os.killpg(0, signal.SIGKILL)

    def parent_is_gone(self):
        """Where there is no pidfd, its number must do."""
        try:
            return bool(not self.has_parent and os.kill(self.parent_pid, 0))
        except ProcessLookupError:
            return True

    def leave(self):
        self.leaving = True
        os.write(self.leave_pipe[1], b"!")
        try:
            if self.connection:
                self.connection.sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass

    def set_limits(self):
        kinds = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_CORE)
        try:
            for kind, limit in zip(kinds, self.limits):
                if limit != NO_LIMIT:
                    resource.setrlimit(kind, (limit, limit + (kind == resource.RLIMIT_CPU)))
            if self.limits[3] != NO_LIMIT:
                os.setpriority(os.PRIO_PROCESS, 0, self.limits[3] - 20)
        except (OSError, ValueError) as failure:
            self.refuse(START_FAILED, f"a limit was refused: {failure}")

    def refuse(self, cause, why):
        self.say(FAILED, struct.pack("<I", cause) + text(why))
        sys.exit(1)

    def say(self, kind, content):
        self.control.sendall(struct.pack("<IB", 1 + len(content), kind) + content)

    def admit(self):
        """The first connection that knows the secret; silent and wrong ones delay nothing."""
        inherited = socket.socket(fileno=4)
        candidates = [] if self.listening else [Connection(inherited, 4096, self)]
        doors = [inherited] if self.listening else []
        peer = lambda sock: sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        while doors or candidates:
            ready = select.select([self.leave_pipe[0], *doors, *candidates], [], [])[0]
            if self.leaving:
                break
            for one in ready:
                if one is inherited:
                    sock = inherited.accept()[0]
                    if not self.verify or peer(sock) == peer(self.control):
                        candidates.append(Connection(sock, 4096, self))
                    continue
                try:
                    alive, hello = one.receive(), one.next()
                except FramingError:
                    alive = False
                expected = self.magic + self.parent_secret + self.wanted
                if alive and hello and hello.kind == HELLO and hello.payload == expected:
                    one.limit, self.connection = self.limit, one
                    if self.listening:
                        inherited.close()
                    return one
                if not alive or hello:
                    candidates.remove(one)
        sys.exit(0)


# --- What passes beside requests and answers


class Inbox:
    """What has come for a call: items of its caller, and room for those of its handler."""

    def __init__(self):
        self.items, self.finished = collections.deque(), False
        self.room, self.left, self.taken = WINDOW, WINDOW, 0


class Desk:
    """Reads on while a handler waits, and puts what comes where it belongs."""

    def __init__(self, protocol, guard, connection):
        self.protocol, self.guard, self.connection = protocol, guard, connection
        self.requests, self.inboxes = collections.deque(), {}  # of those that were not answered
        self.answers, self.subscribed, self.notices = {}, set(), Inbox()
        self.last_number = 1 << 63

    def next_request(self):
        """None: no more are to be served."""
        while not self.guard.leaving:
            if self.requests:
                return self.requests.popleft()
            if not self.read():
                break
        return None

    def read(self):
        """Takes at least one message, or waits for more. False: nothing comes any more."""
        message = self.connection.next()
        if message is None:
            return self.connection.receive()
        while message:
            self.take(message)
            message = self.connection.next()
        return True

    def wait(self, ready, stopped):
        while not ready():
            if stopped():
                raise CallCancelled()
            message = self.connection.next()
            if message:
                self.take(message)
            elif select.select([self.connection], [], [], 0.1)[0] and not self.connection.receive():
                raise CallCancelled()

    def take(self, message):
        kind, inbox = message.kind, self.inboxes.get(message.call)
        if kind == REQUEST:
            self.inboxes[message.number] = Inbox()
            self.requests.append(message)
        elif kind in (RESPONSE, ERROR):
            if message.number in self.answers:
                self.answers[message.number] = kind, message.payload
        elif kind == SUBSCRIPTION:
            (self.subscribed.add if message.call else self.subscribed.discard)(message.index)
        elif kind not in (ITEM, OPEN, FINISH):
            raise FramingError()
        elif kind == OPEN:
            inbox = inbox if message.call else self.notices
            if inbox:
                inbox.room += int.from_bytes(message.payload, "little")
        elif inbox and kind == FINISH:
            inbox.finished = True
        elif inbox:
            if inbox.left <= 0:
                raise FramingError()
            inbox.left -= message.size
            inbox.items.append((message.payload, message.size))

    def claim(self, inbox, content, stopped):
        self.wait(lambda: inbox.room > 0, stopped)
        inbox.room -= HEAD + len(content)

    def send(self, kind, index, content, call):
        self.last_number += 1
        self.connection.send(kind, index, self.last_number, content, call)
        return self.last_number


# --- The answers


def error(cause, why, causes=()):
    content = struct.pack("<I", cause) + text(why) + struct.pack("<I", len(causes))
    return ERROR, content + b"".join(text(part) for pair in causes for part in pair)


def error_of(payload):
    """The parent's answer to a question, as an exception."""

    def take_text(at):
        end = at + 4 + struct.unpack_from("<I", payload, at)[0]
        return payload[at + 4 : end].decode(errors="replace"), end

    cause, (why, at) = struct.unpack_from("<I", payload)[0], take_text(4)
    if cause != HANDLER:
        return HandlerError(f"cause_{cause}", why)
    code, at = take_text(at + 4)
    return HandlerError(code, take_text(at)[0])


def describe(raised, limit):
    """The chain of exceptions, cut so that it fits into a message."""
    chain = []
    while raised and len(chain) < 16:
        if isinstance(raised, HandlerError):
            chain.append((str(raised.code), str(raised)))
        else:
            code = "bad_alloc" if isinstance(raised, MemoryError) else "exception"
            chain.append((code, f"{type(raised).__name__}: {raised}"))
        raised = raised.__cause__
    most = min(1 << 20, limit // 16 // len(chain))
    return [(code[:most], message[:most]) for code, message in chain]


def answer(protocol, call, index, payload):
    limit = call.guard.limit
    if call.stop_requested():
        return error(CANCELLED, "cancelled before it was started")
    if index >= len(protocol.handlers):
        return error(CODEC, "no such request in this protocol")
    name = protocol.names[index]
    try:
        request = decode(payload)
    except (ValueError, RecursionError) as failure:
        return error(CODEC, f'request "{name}" could not be decoded: {failure}')
    try:
        response = protocol.handlers[index](request, call)
    except Exception as raised:
        return error(HANDLER, "", describe(raised, limit))
    try:
        content = b"" if response is None else json.dumps(response, allow_nan=False).encode()
    except Exception as failure:
        return error(CODEC, f'the response to "{name}" could not be encoded: {failure}')
    if len(content) > limit:
        return error(TOO_LARGE, f"the response has {len(content)} bytes")
    return RESPONSE, content


def answer_requests(desk):
    guard = desk.guard
    while request := desk.next_request():
        number, call = request.number, Call(desk, request)
        guard.running = number
        kind, content = answer(desk.protocol, call, request.index, request.payload)
        guard.running = None
        if not request.one_way:
            desk.connection.send(kind, request.index, number, content)
        elif kind == ERROR:
            call.log(f"a request without an answer failed: {content[4:]!r}", 4)
        guard.cancelled.discard(number)
        del desk.inboxes[number]


# --- The worker's life


def check_started_as_worker():
    mark = os.environ.pop("TETHER_WORKER", None)
    if mark is None:
        sys.exit("This is a Tether worker. The program that uses it starts it.")
    try:
        lost = mark != f"1:{os.fstat(3).st_ino}"
    except OSError:
        lost = True
    if lost:
        sys.exit("This worker lost descriptor 3: a program in between must pass on those from 3 on.")


def serve(name, version, handlers, kinds={}, callbacks=(), notifications=()):
    """Serves until the parent stops this worker or is gone, then returns or exits."""
    check_started_as_worker()
    protocol = Protocol(name, version, handlers, kinds, callbacks, notifications)
    sys.stdout.reconfigure(line_buffering=True)
    guard = Guard()
    for fd in range(3, 5 + guard.has_parent):
        os.set_inheritable(fd, False)
    if guard.has_ledger:  # not kept here: see "The ledger" in the wire protocol
        os.close(5 + guard.has_parent)
    if guard.wanted != protocol.id:
        guard.refuse(MISMATCH, f"{sys.argv[0]} serves {name} version {version}")
    guard.set_limits()
    connection = guard.admit()
    connection.send(WELCOME, 0, 0, guard.magic + guard.worker_secret + protocol.id)
    try:
        answer_requests(Desk(protocol, guard, connection))
    except FramingError:
        sys.exit("The parent sent what is no message.")
