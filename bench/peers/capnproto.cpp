// Cap'n Proto RPC: EzRpc over a Unix socket.

#include <cstdint>
#include <deque>

#include <capnp/ez-rpc.h>

#include "calls.capnp.h"
#include "peer.hpp"

namespace {

using Request = capnp::Request<Calls::EchoParams, Calls::EchoResults>;

capnp::ReaderOptions no_limits() {
    capnp::ReaderOptions options;
    options.traversalLimitInWords = std::uint64_t{1} << 32;
    return options;
}

std::string_view view(capnp::Data::Reader bytes) { return {bytes.asChars().begin(), bytes.size()}; }

template <class Texts>
void fill(Texts texts, const std::vector<std::string>& from) {
    for (unsigned i = 0; i < from.size(); ++i) texts.set(i, from[i].c_str());
}

template <class Texts>
std::vector<std::string> copy_of(Texts texts) {
    std::vector<std::string> result;
    for (const auto text : texts) result.emplace_back(text.cStr(), text.size());
    return result;
}

class Server final : public Calls::Server {
    kj::Promise<void> echo(EchoContext context) override {
        const auto bytes = context.getParams().getBytes();
        peers::look(view(bytes));
        context.getResults().setBytes(bytes);
        return kj::READY_NOW;
    }
    kj::Promise<void> compile(CompileContext context) override {
        copy_of(context.getParams().getFlags());
        const auto answer = bench::compiled().diagnostics;
        fill(context.getResults().initDiagnostics(unsigned(answer.size())), answer);
        return kj::READY_NOW;
    }
};

struct Peer {
    Peer(std::size_t, std::size_t) {}

    auto send(std::string_view bytes) {
        auto request = calls.echoRequest(capnp::MessageSize{bytes.size() / 8 + 64, 0});
        request.setBytes({reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()});
        return request.send();
    }

    [[nodiscard]] int pid() const { return child.pid(); }
    void echo(std::string_view bytes) {
        const auto answer = send(bytes).wait(client.getWaitScope());
        peers::check_echo(bytes, view(answer.getBytes()));
    }
    void compile() {
        const bench::Compile message;
        auto request = calls.compileRequest();
        request.setFile(message.file.c_str());
        request.setOutput(message.output.c_str());
        fill(request.initFlags(unsigned(message.flags.size())), message.flags);
        const auto answer = request.send().wait(client.getWaitScope());
        peers::check_compiled(copy_of(answer.getDiagnostics()).size());
    }
    void pipeline(std::size_t depth, std::size_t count) {
        const std::string bytes(64, 'x');
        std::deque<decltype(send(bytes))> under_way;
        for (std::size_t i = 0; i < count; ++i) {
            if (under_way.size() == depth) {
                under_way.front().wait(client.getWaitScope());
                under_way.pop_front();
            }
            under_way.push_back(send(bytes));
        }
        for (auto& answer : under_way) answer.wait(client.getWaitScope());
    }

    /// A child that listens; EzRpc does not try again.
    struct Listening : peers::Child {
        explicit Listening(const std::string& address) : Child({address}) { wait_until_ready(); }
    };

    const std::string address = "unix-abstract:" + peers::new_address();
    Listening child{address};
    capnp::EzRpcClient client{address, 0, no_limits()};
    Calls::Client calls = client.getMain<Calls>();
};

void be_child(const std::vector<std::string>& arguments) {
    capnp::EzRpcServer server{kj::heap<Server>(), arguments.at(0), 0, no_limits()};
    server.getPort().wait(server.getWaitScope());
    peers::say_ready();
    kj::NEVER_DONE.wait(server.getWaitScope());
}

}  // namespace

int main(int argc, char** argv) { return peers::run<Peer>(argc, argv, be_child); }
