// Writes the inputs that the fuzz targets begin with, made by the library's own encoders:
//
//     tether_make_fuzz_corpus <folder>
//
// Each goes to <folder>/<target>/<name>. Inputs that once broke something are added there by hand,
// under names that begin with "regression-".

#include <tether/codec.hpp>
#include <tether/detail/codec/payload.hpp>
#include <tether/detail/wire/bootstrap.hpp>
#include <tether/detail/wire/control_record.hpp>
#include <tether/detail/wire/error_answer.hpp>
#include <tether/detail/wire/greeting.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/codec_messages.hpp"
#include "support/wire.hpp"

namespace {

using namespace tether::detail;
using namespace tether_test;
using namespace std::string_literals;

constexpr auto more = FrameHeader::more;

class Corpus {
public:
    Corpus(const std::filesystem::path& folder, const char* target) : folder_(folder / target) {
        std::filesystem::create_directories(folder_);
    }
    void add(const std::string& name, std::string_view bytes) const {
        std::ofstream file{folder_ / name, std::ios::binary};
        file.exceptions(std::ios::badbit | std::ios::failbit);
        file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }

private:
    std::filesystem::path folder_;
};

void frame_reader(const Corpus& corpus) {
    const auto prefix = "\x00\x40\x01\x00"s;  // limit 16 KiB, seed 1
    const auto begun = [](std::uint64_t number) {
        return frame(FrameType::request, more, number, head(30, {20}) + std::string(10, 'a'));
    };
    const auto rest = std::string(40, 'b');
    const auto add = [&](const char* name, const std::string& bytes) {
        corpus.add(name, prefix + bytes);
    };
    add("empty", {});
    add("small", encoded({FrameType::request, 1, 1, "payload", {"blob", "", "another"}, {5}}));
    add("two", encoded({FrameType::response, 0, 1, "one"}) + encoded({FrameType::error, 2, 3, ""}));
    add("continued", begun(7) + frame(FrameType::data, more, 7, rest.substr(0, 15)) +
                         frame(FrameType::data, 0, 7, rest.substr(15)));
    add("interleaved", begun(7) + begun(8) + encoded({FrameType::request, 0, 9, "whole"}) +
                           frame(FrameType::data, 0, 8, rest) + frame(FrameType::data, 0, 7, rest));
    add("aborted", begun(7) + frame(FrameType::abort, 0, 7, {}) + begun(9));
    add("opened-twice", begun(7) + begun(7));
    add("opened-twice-whole", begun(7) + encoded({FrameType::request, 0, 7, "whole"}));
    add("too-long", begun(7) + frame(FrameType::data, 0, 7, rest + 'c'));
    add("too-short", begun(7) + frame(FrameType::data, 0, 7, rest.substr(1)));
    add("over-limit", frame(FrameType::request, more, 1, head(16 * 1024, {1}) + "x"));
    add("sum-overflows", frame(FrameType::request, more, 1, head(1, {~0ULL, 1}) + "x"));
    add("unknown-type", frame(static_cast<FrameType>(15), 0, 1, head(0, {})));
    add("item", encoded({FrameType::item, 1, SideNumbers::bit | 1U, "item", {"blob"}, of_call(7)}));
    add("item-under-a-request", encoded({FrameType::item, 1, 1, "item", {}, of_call(7)}));
    add("one-way", encoded({FrameType::request, 1, 1, "post", {}, {}, false, true}));
    // Long enough to be received in place: the limit is 65535, the body more than half the buffer.
    corpus.add("in-place",
               "\xff\xff\x01\x00"s + encoded({FrameType::request, 0, 1, std::string(33000, 'p')}));
}

/// Scripts, which conversation.hpp defines: 0 sends a message, 2 begins one, 4 goes on, 6 aborts, 7
/// is hostile.
void frames(const Corpus& corpus) {
    const auto seed = "\x01\x00"s;
    const auto fields = "\x02\x01\x00\x05"s;  // a request, its index and its timeout
    const auto small = fields +
                       "\x03"
                       "abc\x01\x02"
                       "de"s;
    const auto large = fields + "\xe8\x02\xe4\x01z"s;  // of some KiB
    corpus.add("empty", seed);
    corpus.add("small", seed + "\x00"s + small);
    corpus.add("large", seed + "\x00"s + large);
    corpus.add("longest", seed + "\x00"s + fields + "\xff\x03\xff\xff\xff"s);
    corpus.add("continued", seed + "\x02"s + small + "\x01\x04\x00\xff"s);
    corpus.add("interleaved", seed + "\x02"s + large + "\x09\x02"s + large + "\x00\x00"s + small +
                                  "\x04\x01\xff\x04\x00\xff\x04\x01\xff\x04\x00\xff\x04\x00\xff"s);
    corpus.add("aborted", seed + "\x02"s + large + "\x09\x06\x00\x00"s + small);
    corpus.add("hostile-head",
               seed + "\x00"s + small + "\x07\x01\x01\xc6\x00\x05\x00\x03\x01\x00"s);
    corpus.add("hostile-table", seed + "\x07\x03\x02\x01\x02\x03\xc2\x00\x00\x03\x01\x01"s);
    corpus.add("hostile-body",
               seed + "\x02"s + large + "\x09\x07\x04\x05hello\x06\x00\x00\xc1\x00"s);
    corpus.add("item", seed + "\x00\x05\x01\x00\x05"s + "\x03" + "abc\x01\x02" + "de"s);
    corpus.add("hostile-item", seed + "\x07\x09\x01\xc6\x00\x05\x00\x08\x00\x00"s);
    corpus.add("data-unknown", seed + "\x07\x00\x05hello\x06\x00\x01"s);
    corpus.add("abort-unknown", seed + "\x07\x00\x00\x07\x00\x01"s);
}

Secret secret(char first) {
    Secret made{};
    for (auto& byte : made) byte = first++;
    return made;
}

/// Scripts as live_script.hpp defines them; below 64, parent_fuzz.cpp does something itself.
void parent(const Corpus& corpus) {
    const auto call = "\x00\x00"s;                  // of every kind
    const auto item = "\x40\x04\x00\x01\x02\x00"s;  // about call 1
    const auto large = "\x40\x04\x00\x01\xff\x00"s;
    const auto many = [](const std::string& step, int count) {
        std::string steps;
        for (int i = 0; i < count; ++i) steps += step;
        return steps;
    };
    corpus.add("empty", {});
    corpus.add("items", call + many(item, 5) + many("\x11\x00"s, 5));
    corpus.add("window-full", call + many(large, 40));
    corpus.add("window-opened", call + many(large + "\x11\x00"s, 60));
    corpus.add("progress", call + many("\x40\x04\x03\x01\x02\x00"s, 3) + "\x13\x00"s);
    corpus.add("questions", call + many("\x40\x04\x04\x01\x02\x00\x12\x00"s, 3));
    corpus.add("notifications", many("\x40\x04\x05\x00\xff\x00"s, 40));
    corpus.add("window", call + "\x40\x04\x06\x01\x10\x00\x40\x04\x06\x01\xc1\x00\x00"s);
    corpus.add("answered", call + item + "\x40\x04\x07\x01\x00\x00"s + item);
    corpus.add("given-up", call + "\x10\x00"s + many(item, 3) + "\x40\x00\x00\x01\x20"s);
    corpus.add("large", call + "\x40\x00\x00\x01\x20\x40\x01\x00\x03\x40\x00\x00\x01\x20"s);
    corpus.add("broken-off", call + many("\x40\x00\x00\x01\x20\x40\x02\x00"s, 3));
    corpus.add("blobs", call + many("\x40\x04\x00\x01\x02\xff"s, 9));
}

void worker(const Corpus& corpus) {
    const auto request = "\x04\x00\x01\x00\x00"s;
    const auto item = "\x04\x01\x01\x01\x00"s;
    const auto finish = "\x04\x05\x01\x00\x00"s;
    corpus.add("empty", "\x00"s);
    corpus.add("stream", "\x00"s + request + item + item + finish);
    corpus.add("two", "\x01"s + request + "\x04\x00\x42\x00\x00"s + item + finish +
                          "\x04\x05\x02\x00\x00"s);
    corpus.add("subscribed", "\x00\x04\x06\x01\x00\x00"s + request + item + finish);
    corpus.add("window", "\x00"s + request + "\x04\x04\x01\x20\x00\x04\x04\x01\xc1\x00\x00"s);
    std::string full = "\x00"s + request;
    for (int i = 0; i < 50; ++i) full += "\x04\x01\x01\xff\x00"s;
    corpus.add("window-full", full);
    corpus.add("answer", "\x00"s + request + item + "\x04\x07\x01\x01\x00"s + finish);
    corpus.add("one-way", "\x00\x04\x00\x01\x00\x0f"s + item + finish);
}

void handshake(const Corpus& corpus) {
    const ProtocolId protocol{"example.greet", 1, 0x3fe0764c7e063ab6};
    std::string greeting;
    Greeting{secret(0), protocol}.append_to(greeting);
    corpus.add("greeting", '\0' + greeting);
    corpus.add("greeting-cut", '\0' + greeting.substr(0, greeting.size() - 3));
    corpus.add("greeting-longer", '\0' + greeting + "more");
    std::string nameless;
    Greeting{}.append_to(nameless);
    corpus.add("greeting-empty", '\0' + nameless);

    Bootstrap made;
    made.worker = "greeter";
    made.generation = 1;
    made.parent_secret = secret(0);
    made.worker_secret = secret(32);
    made.protocol = protocol;
    made.listening = made.verify_peer = made.mark_severity = made.has_parent = true;
    made.max_message_bytes = std::uint64_t{512} << 20;
    made.orphan_grace_us = 500'000;
    made.parent_pid = 4711;
    const auto bytes = made.encode();
    corpus.add("bootstrap", '\1' + bytes);
    corpus.add("bootstrap-cut", '\1' + bytes.substr(0, 100));
    corpus.add("bootstrap-empty", '\1' + Bootstrap{}.encode());
    auto other = bytes;
    other[8] = 2;
    corpus.add("bootstrap-version", '\1' + other);
    other = bytes;
    other[12] = '\xff';
    corpus.add("bootstrap-name-size", '\1' + other);
    other = bytes;
    other[other.size() - 32] = '\xff';
    corpus.add("bootstrap-flags", '\1' + other);
    made.spin_us = 30;
    made.depth = 2;
    made.limits.nice = 5;
    corpus.add("bootstrap-all", '\1' + made.encode());
    corpus.add("fields",
               "\x02\x03"
               "abc"s +
                   std::string(72, 's') +
                   "\x02"
                   "id"s +
                   std::string(40, 'n'));
}

void control(const Corpus& corpus) {
    const auto seed = "\x00\x05\x00"s;
    const auto stop = control_record(ControlType::stop);
    corpus.add("cancel-stop", seed + cancel_record(3) + stop);
    corpus.add("bootstrap", seed + control_record(ControlType::bootstrap, Bootstrap{}.encode()));
    corpus.add("largest",
               seed + control_record(ControlType::failed, std::string(8187, 'x')) + stop);
    corpus.add("too-large",
               seed + stop + control_record(ControlType::failed, std::string(8188, 'x')));
    corpus.add("no-type", seed + stop + "\0\0\0\0\1"s);
    corpus.add("cut", seed + cancel_record(3).substr(0, 9));
    corpus.add("last-words", '\1' + StartFailure{tether::errc::hook_missing, "no hook"}.encode());
    corpus.add("last-words-cut", '\1' + StartFailure{}.encode().substr(0, 5));
    const auto error = [&](const char* name, const ErrorAnswer& answer) {
        std::string bytes;
        answer.append_to(bytes);
        corpus.add(name, '\2' + bytes);
    };
    error("error-handler", {tether::errc::handler, "", {{"no_name", "whom?"}, {"exception", "x"}}});
    error("error-codec", {tether::errc::codec, "not converted", {}});
    error("error-no-cause", {tether::errc::handler, "", {}});
    error("error-unknown", {tether::errc::timeout, "", {}});
    error("error-long", {tether::errc::handler, std::string(6000, 'y'), {{"c", "m"}}});
    corpus.add("error-count", "\2\x0f\0\0\0\0\0\0\0\xff\xff\xff\xff"s + std::string(64, '\0'));
}

template <class Codec>
void add_document(const Corpus& corpus, char selector, const std::string& name) {
    tether_fuzz::Document made;
    std::string bytes;
    std::vector<const tether::Bytes*> blobs;
    encode_payload<Codec>(made, bytes, blobs);
    corpus.add(name + "-empty", static_cast<char>(selector + 3) + bytes);
    made.draft = true;
    made.pages = 4'000'000'000;
    made.scale = -0.1;
    made.title = "\xe4\xb8\xad \"quoted\"\n";
    made.tags = {"", "one"};
    made.index = {{"a", -1}, {"b", 70000}};
    made.sections.resize(2);
    made.sections[0].note = {"first", -5};
    bytes.clear();
    blobs.clear();
    encode_payload<Codec>(made, bytes, blobs);
    corpus.add(name + "-full", static_cast<char>(selector + 3 * 3) + bytes);
    corpus.add(name + "-blob-missing", static_cast<char>(selector + 3 * 2) + bytes);
    corpus.add(name + "-cut",
               static_cast<char>(selector + 3 * 3) + bytes.substr(0, bytes.size() / 2));
}

void codec(const Corpus& corpus) {
    add_document<tether::MessagePackCodec>(corpus, 0, "msgpack");
    add_document<tether::JsonCodec>(corpus, 1, "json");
    add_document<tether::CborCodec>(corpus, 2, "cbor");
    // In an order of their own, with one that nobody knows, and a number that is too wide.
    corpus.add("msgpack-shuffled", "\x06\x89"s + "\xa5scale\x02\xa5title\xa1t" + "\xa5pages\xd3" +
                                       std::string(7, '\0') + "\x07" +
                                       "\xa5"
                                       "other\x92\x81\xa1k\xc0\xc4\x01z" +
                                       "\xa5"
                                       "cover\x00"s +
                                       "\xa5"
                                       "draft\xc3\xa5index\x81\xa1i\xff" +
                                       "\xa8sections\x90\xa4tags\x91\xa0");
    corpus.add("msgpack-claims", "\x00\x81\xa4tags\xdd\xff\xff\xff\xff\xa0"s);
    corpus.add("msgpack-nested", '\0' + std::string(2047, '\x91') + '\xc0');
    corpus.add("json-nested", '\1' + std::string(1024, '[') + std::string(1024, ']'));
    corpus.add("cbor-nested", '\2' + std::string(2047, '\x81') + '\xf6');
    corpus.add("cbor-nested-bytes", '\2' + std::string(2047, '\x5f'));
    corpus.add("cbor-nested-text", '\2' + std::string(2047, '\x7f'));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: tether_make_fuzz_corpus <folder>\n";
        return 1;
    }
    const std::filesystem::path folder{argv[1]};
    frame_reader({folder, "frame_reader"});
    frames({folder, "frames"});
    handshake({folder, "handshake"});
    control({folder, "control"});
    codec({folder, "codec"});
    parent({folder, "parent"});
    worker({folder, "worker"});
    return 0;
}
