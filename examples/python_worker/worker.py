#!/usr/bin/env python3
"""A Tether worker without Tether, written from docs/wire-protocol.md: serves greet_protocol.hpp."""

import fcntl, json, os, resource, select, signal, socket, struct, sys, threading, time

# --- The protocol: what a worker of another one would change


class HandlerError(Exception):
    """Answers with a code of the program's own: HandlerError(code, message)."""


def greet(request, call):
    call.log("greeting " + request["whom"][:40])
    if not request["whom"]:
        raise HandlerError("no_name", "whom shall I greet?")
    return "Hello, " + request["whom"] + "!"


def spell(request, call):
    letters = []
    for letter in request["word"]:
        if call.stop_requested():
            break
        letters.append(letter)
        time.sleep(request["pause_ms"] / 1000)
    return letters


NAME, VERSION, CODEC_NAME = b"example.greet", 1, b"json"
REQUESTS = {b"greet": greet, b"spell": spell}  # in the order of the parent's Messages<...>

# --- The wire

HELLO, WELCOME, REQUEST, RESPONSE, ERROR, DATA, ABORT = range(1, 8)
BOOTSTRAP, CANCEL, STOP, PROBE, FAILED, RUNNING, RESTING = 1, 2, 3, 4, 16, 17, 19
CANCELLED, START_FAILED, MISMATCH, TOO_LARGE, CODEC, HANDLER = 2, 3, 5, 13, 14, 15
NO_LIMIT = (1 << 64) - 1
MAGIC, MORE, MAX_BODY = b"\0TETHER1" + struct.pack("<I", 1), 1, 1 << 20


def text(data):
    return struct.pack("<I", len(data)) + data


def protocol_id():
    value = 0xCBF29CE484222325
    counted = [(len(part), part) for part in (CODEC_NAME, *REQUESTS)]
    counted.insert(1, (len(REQUESTS), b""))
    for byte in b"".join(struct.pack("<Q", size) + part for size, part in counted):
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return text(NAME) + struct.pack("<IQ", VERSION, value)


class FramingError(Exception):
    pass


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
        """The next complete message: (type, index, number, payload, blobs). None: receive more."""
        while len(self.buffer) >= 16:
            size, kind, flags, index, number = struct.unpack_from("<IBBHQ", self.buffer)
            if not HELLO <= kind <= ABORT or size > MAX_BODY or flags & ~MORE:
                raise FramingError()
            if len(self.buffer) < 16 + size:
                return None
            body = self.buffer[16 : 16 + size]
            del self.buffer[: 16 + size]
            if kind in (DATA, ABORT) and number not in self.opened:
                raise FramingError()
            kind_index, parts = self.opened.pop(number, ((kind, index), bytearray()))
            if kind == ABORT:
                continue
            parts += body
            if len(parts) > self.limit + 24 + 8 * 4096:
                raise FramingError()
            if not flags & MORE:
                return (*kind_index, number, *self.split(parts))
            self.opened[number] = kind_index, parts
        return None

    def split(self, body):
        if len(body) < 24:
            raise FramingError()
        size, _, count, _ = struct.unpack_from("<QQII", body)
        if count > 4096 or len(body) < 24 + 8 * count:
            raise FramingError()
        sizes = [size, *struct.unpack_from(f"<{count}Q", body, 24)]
        if 24 + 8 * count + sum(sizes) != len(body) or sum(sizes) > self.limit:
            raise FramingError()
        at, parts = 24 + 8 * count, []
        for size in sizes:
            parts.append(bytes(body[at : at + size]))
            at += size
        return parts[0], parts[1:]

    def send(self, kind, index, number, payload):
        body = struct.pack("<QQII", len(payload), 0, 0, 0) + payload
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
        if kind != BOOTSTRAP or content[:12] != MAGIC:
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
        self.say(FAILED, struct.pack("<I", cause) + text(why.encode()))
        sys.exit(1)

    def say(self, kind, content):
        self.control.sendall(struct.pack("<IB", 1 + len(content), kind) + content)

    def admit(self):
        """The first connection that knows the secret; silent and wrong ones are in nobody's way."""
        inherited = socket.socket(fileno=4)
        candidates = [] if self.listening else [Connection(inherited, 4096, self)]
        doors = [inherited] if self.listening else []
        who = lambda sock: sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        while doors or candidates:
            ready = select.select([self.leave_pipe[0], *doors, *candidates], [], [])[0]
            if self.leaving:
                break
            for one in ready:
                if one is inherited:
                    sock = inherited.accept()[0]
                    if not self.verify or who(sock) == who(self.control):
                        candidates.append(Connection(sock, 4096, self))
                    continue
                try:
                    alive, hello = one.receive(), one.next()
                except FramingError:
                    alive = False
                expected = MAGIC + self.parent_secret + self.wanted
                if alive and hello and hello[0] == HELLO and hello[3] == expected:
                    one.limit, self.connection = self.limit, one
                    if self.listening:
                        inherited.close()
                    return one
                if not alive or hello:
                    candidates.remove(one)
        sys.exit(0)


# --- One call


class Call:
    def __init__(self, guard, number):
        self.guard, self.number = guard, number

    def stop_requested(self):
        return self.guard.leaving or self.number in self.guard.cancelled

    def log(self, line, severity=2):
        mark = f"\x01{severity}" if self.guard.mark else ""
        print(mark + line.replace("\n", " "), file=sys.stderr, flush=True)


def error(cause, why, causes=()):
    content = struct.pack("<I", cause) + text(why.encode()) + struct.pack("<I", len(causes))
    return ERROR, content + b"".join(text(part.encode()) for pair in causes for part in pair)


def describe(raised):
    while raised:
        known = isinstance(raised, HandlerError)
        yield raised.args if known else ("exception", f"{type(raised).__name__}: {raised}")
        raised = raised.__cause__


def answer(guard, index, number, payload):
    call = Call(guard, number)
    if call.stop_requested():
        return error(CANCELLED, "cancelled before it was started")
    if index >= len(REQUESTS):
        return error(CODEC, "no such request in this protocol")
    try:
        request = json.loads(payload)
    except ValueError as failure:
        return error(CODEC, f"the request could not be decoded: {failure}")
    try:
        response = json.dumps(list(REQUESTS.values())[index](request, call)).encode()
    except Exception as raised:
        return error(HANDLER, "", list(describe(raised)))
    if len(response) > guard.limit:
        return error(TOO_LARGE, f"the response has {len(response)} bytes")
    return RESPONSE, response


def main():
    mark = os.environ.pop("TETHER_WORKER", None)
    if mark is None:
        sys.exit("This is a Tether worker. The program that uses it starts it.")
    try:
        lost = mark != f"1:{os.fstat(3).st_ino}"
    except OSError:
        lost = True
    if lost:
        sys.exit("This worker lost descriptor 3: a program in between must pass on those from 3 on.")
    sys.stdout.reconfigure(line_buffering=True)
    guard = Guard()
    for fd in range(3, 5 + guard.has_parent):
        os.set_inheritable(fd, False)
    if guard.has_ledger:  # not kept here: see "The ledger" in the wire protocol
        os.close(5 + guard.has_parent)
    if guard.wanted != protocol_id():
        guard.refuse(MISMATCH, f"worker.py serves {NAME.decode()} version {VERSION}")
    guard.set_limits()
    connection = guard.admit()
    connection.send(WELCOME, 0, 0, MAGIC + guard.worker_secret + protocol_id())
    while not guard.leaving:
        if request := connection.next():
            kind, index, number, payload, _ = request
            if kind != REQUEST:
                raise FramingError()
            guard.running = number
            kind, content = answer(guard, index, number, payload)
            guard.running = None
            connection.send(kind, index, number, content)
            guard.cancelled.discard(number)
        elif not connection.receive():
            break


if __name__ == "__main__":
    main()
