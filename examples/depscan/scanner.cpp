#include "scanner.hpp"

namespace depscan {

ScannedFiles Scanner::handle(const ScanFiles& request, tether::CallContext<ScanFiles>& call) {
    ScannedFiles answer;
    for (const auto& file : request.files) {
        if (call.stop_requested()) throw tether::HandlerError("cancelled", "nobody waits for this");
        answer.files.push_back(scanner_.scan(file, request.search_path));
    }
    answer.cache = scanner_.take_cache_use();
    return answer;
}

}  // namespace depscan
