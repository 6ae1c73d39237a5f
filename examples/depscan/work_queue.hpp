#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace depscan {

/// Files that one worker scans in one call, all with the same search path.
struct Batch {
    std::size_t search_path{};
    std::vector<std::string> files{};
    std::size_t failed_attempts{};
};

/// What is still to be scanned. Pure bookkeeping: it knows nothing of workers.
class WorkQueue {
public:
    /// Does nothing if the file was added with this search path before.
    void add(const std::string& file, std::size_t search_path);

    /// The next batch. Nothing if all files are done, with a worker, or suspects. Batches shrink
    /// when there is little to do, so that every worker has some of it.
    std::optional<Batch> take(std::size_t workers);

    void finish(const Batch& batch) { finished_ += batch.files.size(); }

    /// After an attempt that failed, the batch is a suspect. One that fails again is split: each of
    /// its files becomes a suspect of its own, so that a bad file does not take others down with
    /// it.
    void put_back(Batch batch);

    /// Must be given to a worker that does nothing else, so that it is known whose fault it is if
    /// the worker dies.
    std::optional<Batch> take_suspect();

    bool has_suspects() const { return !suspects_.empty(); }
    std::size_t known() const { return known_; }
    std::size_t finished() const { return finished_; }
    bool all_finished() const { return finished_ == known_; }

private:
    std::size_t batch_size(std::size_t workers) const;

    std::vector<std::deque<std::string>> waiting_;  // by search path
    std::vector<std::unordered_set<std::string>> added_;
    std::deque<Batch> suspects_;
    std::size_t waiting_files_ = 0;
    std::size_t known_ = 0;
    std::size_t finished_ = 0;
};

}  // namespace depscan
