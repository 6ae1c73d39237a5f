#include "work_queue.hpp"

#include <algorithm>
#include <utility>

namespace depscan {

void WorkQueue::add(const std::string& file, std::size_t search_path) {
    if (search_path >= waiting_.size()) {
        waiting_.resize(search_path + 1);
        added_.resize(search_path + 1);
    }
    if (!added_[search_path].insert(file).second) return;
    waiting_[search_path].push_back(file);
    ++waiting_files_;
    ++known_;
}

std::optional<Batch> WorkQueue::take(std::size_t workers) {
    const auto waiting = std::ranges::find_if(waiting_, [](auto& files) { return !files.empty(); });
    if (waiting == waiting_.end()) return std::nullopt;

    Batch batch{.search_path = static_cast<std::size_t>(waiting - waiting_.begin())};
    for (auto size = std::min(batch_size(workers), waiting->size()); size > 0; --size) {
        batch.files.push_back(std::move(waiting->front()));
        waiting->pop_front();
    }
    waiting_files_ -= batch.files.size();
    return batch;
}

void WorkQueue::put_back(Batch batch) {
    if (batch.failed_attempts < 2) {
        suspects_.push_back(std::move(batch));
        return;
    }
    for (auto& file : batch.files) {
        suspects_.push_back({.search_path = batch.search_path,
                             .files = {std::move(file)},
                             .failed_attempts = batch.failed_attempts});
    }
}

std::optional<Batch> WorkQueue::take_suspect() {
    if (suspects_.empty()) return std::nullopt;
    auto batch = std::move(suspects_.front());
    suspects_.pop_front();
    return batch;
}

std::size_t WorkQueue::batch_size(std::size_t workers) const {
    constexpr std::size_t largest = 32;
    return std::clamp<std::size_t>(waiting_files_ / (2 * workers), 1, largest);
}

}  // namespace depscan
