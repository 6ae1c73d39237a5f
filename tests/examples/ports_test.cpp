// ports as its users run it.
#include <asio/io_context.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>

#include <string>

#include "run_program.hpp"
#include "support/catch.hpp"

TEST_CASE("ports run: it finds the port that listens", "[ports][run]") {
    asio::io_context context;
    const asio::ip::tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
    const auto port = std::to_string(acceptor.local_endpoint().port());
    const auto run = run_program("'" TETHER_EXAMPLES_DIR "/ports' " + port + " " + port);
    CHECK(run.exit_code == 0);
    CHECK(run.out == "1 of 1 ports accept connections\n" + port + "\n1 tried\n");
    CHECK(nothing_left_behind());
}

TEST_CASE("ports run: it says how it is used", "[ports][run]") {
    CHECK(run_program("'" TETHER_EXAMPLES_DIR "/ports' 2>/dev/null").exit_code == 2);
}
