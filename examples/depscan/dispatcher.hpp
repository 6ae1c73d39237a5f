#pragma once

#include <tether/tether.hpp>

#include <asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "chaos.hpp"
#include "include_graph.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "scan_protocol.hpp"
#include "sources.hpp"
#include "work_queue.hpp"

namespace depscan {

/// Keeps the workers busy: hands out batches of files, merges the answers, and queues the headers
/// that they name. A batch whose worker died goes to another one, alone.
class Dispatcher {
public:
    Dispatcher(const SourceSet& sources, std::size_t workers,
               std::optional<std::uint32_t> chaos_seed, Progress& progress);

    /// Returns when all is scanned. A file that no worker survives becomes a failure in the graph.
    /// Throws std::runtime_error if the workers cannot be started.
    void run();

    const IncludeGraph& graph() const { return graph_; }
    const RunStatistics& statistics() const { return statistics_; }

private:
    struct Member {
        tether::Worker<ScanProtocol> worker;
        std::size_t batches_in_flight = 0;
        bool has_suspect = false;
        bool retired = false;
    };

    void hand_out();
    std::optional<Batch> next_batch(Member& member, std::size_t limit);
    void send(Member& member, Batch batch);
    void settle(Member& member, Batch batch, const std::exception_ptr& failure,
                const ScannedFiles& answer);
    void merge(const Batch& batch, const ScannedFiles& answer);
    void recover(Member& member, Batch batch, const tether::CallError& error);
    void give_up(const Batch& batch, std::error_code reason);
    void wreak_havoc();

    std::vector<SearchPath> search_paths_;
    WorkQueue queue_;
    IncludeGraph graph_;
    RunStatistics statistics_;
    Progress& progress_;
    Chaos chaos_;
    std::string last_error_;
    asio::io_context io_;
    std::vector<Member> members_;  // never grows once calls are made
};

}  // namespace depscan
