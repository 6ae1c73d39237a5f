// mirror: copies a tree of files through a worker, which may be cancelled at any time.
#include <tether/tether.hpp>

#include <asio/signal_set.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>

namespace fs = std::filesystem;

struct Piece {           // of the tree: a folder, or some bytes of a file
    std::string path{};  // below the target
    std::uint32_t mode{};
    bool is_folder = false;
    bool is_last = false;  // of its file
    tether::Bytes content{};
};
TETHER_DEFINE_MESSAGE(Piece, path, mode, is_folder, is_last, content)

struct Summary {
    std::uint64_t files{};
    std::uint64_t skipped{};
    std::uint64_t bytes{};
    std::uint64_t digest{};  // of all that came, skipped or not
};
TETHER_DEFINE_MESSAGE(Summary, files, skipped, bytes, digest)

/// Writes the pieces below `target`. A file appears there when it is complete, or not at all.
struct Mirror {
    static constexpr std::string_view name = "mirror";
    using Upload = Piece;
    using Response = Summary;
    using Progress = Summary;                            // so far
    static constexpr auto timeout = tether::no_timeout;  // the user may take time to answer
    std::string target{};
};
TETHER_DEFINE_MESSAGE(Mirror, target)

struct Overwrite {  // the worker's question
    static constexpr std::string_view name = "overwrite";
    using Response = bool;
    std::string path{};
};
TETHER_DEFINE_MESSAGE(Overwrite, path)

struct MirrorProtocol {
    static constexpr std::string_view name = "example.mirror";
    static constexpr std::uint32_t version = 1;
    using Requests = tether::Messages<Mirror>;
    using Callbacks = tether::Messages<Overwrite>;
    using Codec = tether::DirectCodec;
};

void add_to_digest(std::uint64_t& digest, std::string_view bytes) {  // FNV-1a
    for (const char c : bytes) digest = (digest ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
}

/// A file under another name, which is removed unless it is completed.
class PartFile {
public:
    explicit PartFile(const fs::path& target)
        : target_(target), part_(target.string() + ".mirror-part"), out_(part_, std::ios::binary) {
        out_.exceptions(std::ios::failbit | std::ios::badbit);
    }
    ~PartFile() {
        std::error_code ignored;
        fs::remove(part_, ignored);
    }
    void write(std::string_view bytes) { out_ << bytes; }
    void complete(std::uint32_t mode) {
        out_.close();
        fs::permissions(part_, fs::perms{mode});
        fs::rename(part_, target_);
    }

private:
    const fs::path target_;
    const fs::path part_;
    std::ofstream out_;  // also what forbids copies
};

class Mirrorer final : public tether::Handler<MirrorProtocol> {  // lives in the worker process
    Summary handle(const Mirror& request, tether::CallContext<Mirror>& call) override {
        const fs::path target{request.target};
        fs::create_directories(target);
        Summary summary;
        std::optional<PartFile> file;  // that pieces are written to; none: they are skipped
        bool begins = true;
        while (const auto piece = call.next()) {  // throws when cancelled; `file` is removed then
            const auto path = target / piece->path;
            if (piece->is_folder) {
                fs::create_directories(path);
                continue;
            }
            add_to_digest(summary.digest, piece->content.view());
            if (begins) {
                if (!fs::exists(path) || call.ask(Overwrite{piece->path})) {
                    file.emplace(path);
                } else {
                    ++summary.skipped;
                }
            }
            begins = piece->is_last;
            if (!file) continue;
            file->write(piece->content.view());
            summary.bytes += piece->content.size();
            if (piece->is_last) {
                file->complete(piece->mode);
                file.reset();
                ++summary.files;
            }
            call.progress(summary);
        }
        return summary;
    }
};

using Stream = tether::Stream<MirrorProtocol, Mirror>;

/// Adds what is sent to `digest`. False: the worker takes no more, and response() tells why.
bool send_file(Stream& stream, const fs::path& file, Piece piece, std::uint64_t& digest) {
    std::ifstream in{file, std::ios::binary};
    if (!in) throw std::runtime_error(file.string() + " cannot be read");
    while (!piece.is_last) {
        piece.content.resize(64 * 1024);
        in.read(reinterpret_cast<char*>(piece.content.data()), 64 * 1024);
        piece.content.resize(static_cast<std::size_t>(in.gcount()));
        add_to_digest(digest, piece.content.view());
        piece.is_last = !in;
        if (!stream.write(piece)) return false;
    }
    return true;
}

std::uint64_t send_tree(Stream& stream, const fs::path& source, const fs::path& target) {
    std::uint64_t digest = 0;
    bool wanted = true;  // by the worker
    for (fs::recursive_directory_iterator it{source}; wanted && it != end(it); ++it) {
        Piece piece{.path = it->path().lexically_relative(source).string(),
                    .mode = static_cast<std::uint32_t>(it->status().permissions()),
                    .is_folder = it->is_directory() && !it->is_symlink()};
        if (it->path() == target) {  // lies within the source
            it.disable_recursion_pending();
        } else if (piece.is_folder) {
            wanted = stream.write(piece);
        } else if (it->is_regular_file()) {
            wanted = send_file(stream, it->path(), piece, digest);
        }
    }
    if (wanted) stream.finish();
    return digest;
}

/// `overwrite` is "yes", "no" or "ask". Stops by itself once `stop_after` bytes are copied.
void mirror(const fs::path& source, const fs::path& target, const std::string& overwrite,
            std::uint64_t stop_after) {
    tether::Worker<MirrorProtocol> worker{{.name = "mirror"}};
    std::stop_source stop;
    asio::signal_set interrupt{worker.get_executor(), SIGINT, SIGTERM};
    interrupt.async_wait([&](std::error_code error, int) {
        if (!error) stop.request_stop();
    });
    // This function and the next run on this thread, while it writes, or waits for the response.
    worker.provide<Overwrite>([&](const Overwrite& question) {
        if (overwrite != "ask") return overwrite == "yes";
        std::cerr << question.path << " exists. Overwrite it? [y/N] ";
        std::string answer;
        return std::getline(std::cin, answer) && answer == "y";
    });
    const auto on_progress = [&](const Summary& so_far) {
        std::cerr << so_far.files << " files, " << so_far.bytes << " bytes\n";
        if (so_far.bytes >= stop_after) stop.request_stop();
    };
    auto stream = worker.stream(Mirror{target.string()},
                                {.stop_token = stop.get_token(), .on_progress = on_progress});
    const auto digest = send_tree(stream, source, target);
    const Summary summary = stream.response();
    if (summary.digest != digest) throw std::runtime_error("what came is not what was sent");
    std::cout << summary.files << " files, " << summary.skipped << " skipped, " << summary.bytes
              << " bytes, digest " << std::hex << digest << '\n';
}  // has the worker end first, which removes the file that it has not completed

int main(int argc, char** argv) {
    if (auto exit_code = tether::serve_if_worker<Mirrorer>(argc, argv)) return *exit_code;
    if (argc < 3 || argc > 5) {
        std::cerr << "usage: mirror SOURCE TARGET [yes|no|ask [STOP_AFTER_BYTES]]\n";
        return 2;
    }
    try {
        mirror(fs::canonical(argv[1]), fs::weakly_canonical(fs::absolute(argv[2])),
               argc > 3 ? argv[3] : "ask", argc > 4 ? std::stoull(argv[4]) : ~0ULL);
    } catch (const std::exception& error) {
        std::cerr << "mirror: " << error.what() << '\n';
        return 1;
    }
}
