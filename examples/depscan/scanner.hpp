#pragma once

#include "file_scanner.hpp"
#include "scan_protocol.hpp"

namespace depscan {

/// The worker's side. Its file scanner lives as long as the process, and so do the files that it
/// has read and the look-ups that it has made.
class Scanner final : public tether::Handler<ScanProtocol> {
public:
    ScannedFiles handle(const ScanFiles& request, tether::CallContext<ScanFiles>& call) override;

private:
    FileScanner scanner_;
};

}  // namespace depscan
