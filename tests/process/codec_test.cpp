// What goes over the wire arrives as it was, in every codec and size.

#include <asio/use_future.hpp>

#include <future>

#include "process/support/worker_under_test.hpp"

namespace tether_test::codec_test {
namespace {

std::string all_bytes() {
    std::string text;
    for (int byte = 0; byte < 256; ++byte) text += static_cast<char>(byte);
    return text;
}

// 8 MiB of text, three bytes a character.
std::string cjk_text() {
    std::string text;
    text.reserve(8 << 20);
    for (unsigned i = 0; text.size() + 3 <= std::size_t{8} << 20; ++i) {
        const unsigned character = 0x4e00 + i % 0x5000;
        text += static_cast<char>(0xe0 | (character >> 12));
        text += static_cast<char>(0x80 | ((character >> 6) & 0x3f));
        text += static_cast<char>(0x80 | (character & 0x3f));
    }
    return text;
}

template <class Protocol>
void check_protocol(tether::Transport transport, bool any_bytes_in_strings) {
    tether::Worker<Protocol> worker{options_for(transport)};

    CHECK(worker.call(Add{-1, std::int64_t{1} << 60}) == (std::int64_t{1} << 60) - 1);
    const auto empty = worker.call(Echo{});
    CHECK(empty.text.empty());
    CHECK(empty.blob.empty());

    // Blobs are any bytes in every codec; so are strings in most.
    const auto echoed = worker.call(Echo{"äöü 漢字 \"quoted\" \n\t\\", tether::Bytes{all_bytes()}});
    CHECK(echoed.text == "äöü 漢字 \"quoted\" \n\t\\");
    CHECK(echoed.blob.view() == all_bytes());
    if (any_bytes_in_strings) {
        CHECK(worker.call(Echo{all_bytes(), {}}).text == all_bytes());
    } else {
        CHECK(error_of([&] { worker.call(Echo{all_bytes(), {}}); }).code() == errc::codec);
    }
    CHECK(worker.call(Add{1, 2}) == 3);
    CHECK(worker.generation() == 1);
}

template <class Codec>
void check_codec(tether::Transport transport, bool any_bytes_in_strings) {
    INFO(Codec::name);
    check_protocol<CodecProtocol<Codec>>(transport, any_bytes_in_strings);
}

TEST_CASE("all codecs carry values", "[process][codec][F11]") {
    const Census census;
    const auto transport = each_transport();
    check_codec<tether::MessagePackCodec>(transport, true);
    check_codec<tether::JsonCodec>(transport, false);
    check_codec<tether::CborCodec>(transport, true);
    check_codec<BackwardsCodec>(transport, false);
}

/// Another idea of Echo: without its blob.
struct Misspelled {
    static constexpr std::string_view name = "echo";
    using Response = Echoed;
    std::string text{};
};
TETHER_DEFINE_MESSAGE(Misspelled, text)
struct Disagreeing {
    static constexpr std::string_view name = DirectProtocol<tether::DirectCodec>::name;
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Misspelled, Add>;
    using Codec = tether::DirectCodec;
};

TEST_CASE("either side may have the codec without documents", "[process][codec][F11]") {
    const Census census;
    const auto transport = each_transport();
    check_protocol<DirectProtocol<tether::DirectCodec>>(transport, true);
    check_protocol<DirectProtocol<tether::MessagePackCodec>>(transport, true);
    check_protocol<CodecProtocol<tether::DirectCodec>>(transport, true);  // of a MessagePackCodec
}

TEST_CASE("a request that is not what was agreed on", "[process][codec]") {
    const Census census;
    tether::Worker<Disagreeing> worker{options_for()};
    const auto error = error_of([&] { worker.call(Misspelled{}); });
    INFO(error.what());
    CHECK(error.code() == errc::codec);
    CHECK(contains(error.what(), "member \"blob\": missing from the map at byte 0"));
    CHECK(worker.generation() == 1);
}

struct Wanted {
    static constexpr std::string_view name = TestProtocol::name;
    static constexpr std::uint32_t version = TestProtocol::version;
    using Requests = TestProtocol::Requests;
    using Codec = tether::JsonCodec;
};

TEST_CASE("another codec is another protocol", "[process][codec]") {
    const Census census;
    tether::Worker<Wanted> worker{options_for()};
    const auto error = error_of([&] { worker.call(Nothing{}); });
    INFO(error.what());
    CHECK(error.code() == errc::protocol_mismatch);
    CHECK(contains(error.what(), "codec"));
}

TEST_CASE("8 MiB of CJK text", "[process][codec][F10]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    const Echo request{cjk_text(), {}};
    const auto echoed = worker.call(request);
    CHECK((echoed.text == request.text));  // not to be printed
}

TEST_CASE("a whole encoded frame as payload", "[process][codec][F11]") {
    const Census census;
    TestWorker worker{options_for()};
    const std::string frame(
        "\x19\x00\x00\x00\x04\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00"
        "\x01\x00\x00\x00\x00\x00\x00\x00",
        24);
    const auto echoed = worker.call(Echo{frame, tether::Bytes{frame}});
    CHECK(echoed.text == frame);
    CHECK(echoed.blob.view() == frame);
}

TEST_CASE("64 MiB in a blob", "[process][codec]") {
    const Census census;
    constexpr std::size_t size = std::size_t{64} << 20;
    TestWorker worker{options_for(each_transport())};
    const Echo request{"beside", patterned(size)};
    const auto echoed = worker.call(request);
    CHECK(echoed.text == "beside");
    CHECK((echoed.blob.view() == request.blob.view()));
    const auto made = worker.call(Make{static_cast<std::int64_t>(size)});
    CHECK((made.view() == request.blob.view()));
}

TEST_CASE("sizes around every limit of the framing", "[process][codec]") {
    const Census census;
    TestWorker worker{options_for(each_transport())};
    for (const std::size_t limit :
         {std::size_t{1}, std::size_t{4096}, std::size_t{16} << 10, std::size_t{32} << 10,
          std::size_t{64} << 10, std::size_t{1} << 20, std::size_t{2} << 20}) {
        for (const int around : {-41, -40, -24, -16, 0, 1}) {
            const auto size = static_cast<std::size_t>(
                std::max<std::int64_t>(0, static_cast<std::int64_t>(limit) + around));
            CAPTURE(size);
            const auto text = std::string(size, 't');
            const auto echoed = worker.call(Echo{text, patterned(size)});
            REQUIRE((echoed.text == text));
            REQUIRE(echoed.blob.size() == size);
            REQUIRE(is_patterned(echoed.blob));
        }
    }
}

TEST_CASE("much in both directions at once does not deadlock", "[process][codec][F20]") {
    const Census census;
    const auto transport = each_transport();
    for (const unsigned concurrency : {1U, 4U}) {
        auto options = options_for(transport);
        options.concurrency = concurrency;
        TestWorker worker{options};
        std::vector<std::future<Echoed>> async_results;
        std::vector<std::future<Echoed>> blocking_results;
        for (int i = 0; i < 4; ++i) {
            async_results.push_back(
                worker.async_call(Echo{std::to_string(i), patterned(8 << 20)}, asio::use_future));
            blocking_results.push_back(std::async(std::launch::async, [&worker, i] {
                return worker.call(Echo{std::to_string(i), patterned(8 << 20)});
            }));
        }
        for (auto* results : {&async_results, &blocking_results}) {
            for (std::size_t i = 0; i < results->size(); ++i) {
                const auto echoed = (*results)[i].get();
                CHECK(echoed.text == std::to_string(i));
                CHECK(echoed.blob.size() == 8 << 20);
                CHECK(is_patterned(echoed.blob));
            }
        }
    }
}

TEST_CASE("a small call passes a large one", "[process][codec]") {
    const Census census;
    auto options = options_for(each_transport());
    options.concurrency = 2;
    TestWorker worker{options};
    worker.call(Nothing{});
    auto large = worker.async_call(Echo{"", patterned(std::size_t{48} << 20)}, asio::use_future);
    CHECK(worker.call(Add{1, 2}) == 3);
    // It was answered before the large one had even been sent.
    CHECK(large.wait_for(0s) == std::future_status::timeout);
    CHECK(is_patterned(large.get().blob));
}

}  // namespace
}  // namespace tether_test::codec_test
