// gRPC over a Unix socket: the synchronous server and the blocking stub; a completion queue for
// many calls in flight.

#include <memory>

#include <grpcpp/grpcpp.h>

#include "calls.grpc.pb.h"
#include "peer.hpp"

namespace {

class Service final : public calls::Calls::Service {
    grpc::Status Echo(grpc::ServerContext*, const calls::Bytes* request,
                      calls::Bytes* answer) override {
        peers::look(request->bytes());
        answer->set_bytes(request->bytes());
        return grpc::Status::OK;
    }
    grpc::Status Compile(grpc::ServerContext*, const calls::CompileRequest*,
                         calls::CompileAnswer* answer) override {
        for (const auto& line : bench::compiled().diagnostics) answer->add_diagnostics(line);
        return grpc::Status::OK;
    }
};

struct Peer {
    Peer(std::size_t, std::size_t) {
        child.wait_until_ready();
        grpc::ChannelArguments options;
        options.SetMaxReceiveMessageSize(-1);
        options.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
        stub = calls::Calls::NewStub(
            grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), options));
    }

    [[nodiscard]] int pid() const { return child.pid(); }
    void echo(std::string_view bytes) {
        grpc::ClientContext context;
        calls::Bytes request;
        calls::Bytes answer;
        request.set_bytes(bytes.data(), bytes.size());
        peers::check(stub->Echo(&context, request, &answer).ok(), "a failed call");
        peers::check_echo(bytes, answer.bytes());
    }
    void compile() {
        const bench::Compile message;
        grpc::ClientContext context;
        calls::CompileRequest request;
        calls::CompileAnswer answer;
        request.set_file(message.file);
        request.set_output(message.output);
        for (const auto& flag : message.flags) request.add_flags(flag);
        peers::check(stub->Compile(&context, request, &answer).ok(), "a failed call");
        peers::check_compiled(static_cast<std::size_t>(answer.diagnostics_size()));
    }

    struct Call {
        grpc::ClientContext context{};
        calls::Bytes answer{};
        grpc::Status status{};
        std::unique_ptr<grpc::ClientAsyncResponseReader<calls::Bytes>> reader{};
    };
    void start_call() {
        auto* const call = new Call;  // comes back from the queue
        calls::Bytes request;
        request.set_bytes(std::string(64, 'x'));
        call->reader = stub->AsyncEcho(&call->context, request, &queue);
        call->reader->Finish(&call->answer, &call->status, call);
    }
    void pipeline(std::size_t depth, std::size_t count) {
        for (std::size_t i = 0; i < depth; ++i) start_call();
        for (std::size_t i = 0; i < count; ++i) {
            void* tag = nullptr;
            bool ok = false;
            peers::check(queue.Next(&tag, &ok), "an empty queue");
            const std::unique_ptr<Call> call{static_cast<Call*>(tag)};
            peers::check(ok && call->status.ok(), "a failed call");
            if (i + depth < count) start_call();
        }
    }

    const std::string address = "unix-abstract:" + peers::new_address();
    peers::Child child{{address}};
    grpc::CompletionQueue queue{};
    std::unique_ptr<calls::Calls::Stub> stub{};
};

void be_child(const std::vector<std::string>& arguments) {
    Service service;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(arguments.at(0), grpc::InsecureServerCredentials());
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterService(&service);
    const auto server = builder.BuildAndStart();
    peers::check(server != nullptr, "no server");
    peers::say_ready();
    server->Wait();
}

}  // namespace

int main(int argc, char** argv) { return peers::run<Peer>(argc, argv, be_child); }
