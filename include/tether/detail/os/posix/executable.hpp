// Why: which file to run is settled before the spawn, so that an error can say what was looked for.
#pragma once

#include <tether/config.hpp>
#include <tether/detail/os/posix/descriptor.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif
#if defined(__FreeBSD__)
#include <sys/sysctl.h>
#endif
#if defined(__linux__)
#include <link.h>
#include <sys/auxv.h>
#endif

TETHER_NAMESPACE_BEGIN
namespace detail {

// How to execute a program.
struct Executable {
    std::string path{};
    std::string file{};  // where the program lies, or lay before it was removed
    // Where a loader runs it, the arguments before the program's own: the loader's name and
    // options, and the program.
    std::vector<std::string> before{};
};

// Without "//", "/./" and a slash at the end, which only make a text harder to read. ".." stays: it
// may follow a link. "." for the current directory.
inline std::string clean_path(std::string_view path) {
    std::string result;
    const bool absolute = path.starts_with('/');
    while (!path.empty()) {
        const auto slash = std::min(path.find('/'), path.size());
        const auto part = path.substr(0, slash);
        path.remove_prefix(std::min(slash + 1, path.size()));
        if (part.empty() || part == ".") continue;
        if (absolute || !result.empty()) result += '/';
        result += part;
    }
    if (!result.empty()) return result;
    return absolute ? "/" : ".";
}

inline std::string file_name(std::string_view path) {
    auto clean = clean_path(path);
    return clean.size() > 1 ? clean.substr(clean.rfind('/') + 1) : clean;
}

inline std::string current_directory() {
    std::string path(PATH_MAX, '\0');
    if (::getcwd(path.data(), path.size()) == nullptr) {
        throw_last_error("the current directory (a relative path starts there)");
    }
    path.resize(path.find('\0'));
    return path;
}

#if defined(__APPLE__)
inline Executable own_executable() {
    std::string path(PATH_MAX, '\0');
    auto size = static_cast<std::uint32_t>(path.size());
    if (::_NSGetExecutablePath(path.data(), &size) != 0) {
        throw std::system_error(ENAMETOOLONG, std::system_category(), "path of this executable");
    }
    path.resize(path.find('\0'));
    return {path, path, {}};
}
#elif defined(__FreeBSD__)
inline Executable own_executable() {
    int query[] = {CTL_KERN, KERN_PROC, KERN_PROC_PATHNAME, -1};
    std::string path(PATH_MAX, '\0');
    auto size = path.size();
    if (::sysctl(query, 4, path.data(), &size, nullptr, 0) != 0) {
        throw_last_error("path of this executable");
    }
    path.resize(path.find('\0'));
    return {path, path, {}};
}
#else
// The program's file as it is mapped into memory.
struct ProgramImage {
    const char* begin = nullptr;  // of what was mapped from the begin of the file
    std::size_t size = 0;
    const char* loader = nullptr;  // that its file asks for

    // Whether a loader was executed by hand to load this program.
    [[nodiscard]] bool run_by_loader() const noexcept {
        return loader != nullptr && ::getauxval(AT_BASE) == 0;
    }
};

inline ProgramImage find_program_image() noexcept {
    ProgramImage image;
    ::dl_iterate_phdr(
        [](::dl_phdr_info* object, std::size_t, void* data) {
            auto& found = *static_cast<ProgramImage*>(data);
            for (int i = 0; i < object->dlpi_phnum; ++i) {
                const auto& segment = object->dlpi_phdr[i];
                // NOLINTNEXTLINE(performance-no-int-to-ptr)
                const auto* at = reinterpret_cast<const char*>(object->dlpi_addr + segment.p_vaddr);
                if (segment.p_type == PT_INTERP) found.loader = at;
                if (segment.p_type != PT_LOAD || segment.p_offset != 0) continue;
                found.begin = at;
                found.size = segment.p_filesz;
            }
            return 1;  // the first object is the program: look no further
        },
        &image);
    return image;
}

// Whether the file begins as the image does: with the same headers, the build id among them.
inline bool is_file_of(const std::string& path, const ProgramImage& image) noexcept {
    std::array<char, 4096> bytes;
    const auto size = std::min(bytes.size(), image.size);
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    return size != 0 && ::pread(file.get(), bytes.data(), size, 0) == ::ssize_t(size) &&
           std::equal(bytes.data(), bytes.data() + size, image.begin);
}

inline std::string contents_of(const char* path) {
    std::string text;
    const Descriptor file{::open(path, O_RDONLY | O_CLOEXEC)};
    std::array<char, 4096> bytes;
    for (;;) {
        const auto size = retry([&] { return ::read(file.get(), bytes.data(), bytes.size()); });
        if (size <= 0) return text;
        text.append(bytes.data(), static_cast<std::size_t>(size));
    }
}

// The path of the file that is mapped at that address; "" where the system does not tell.
inline std::string mapped_file(const char* address) {
    const auto maps = contents_of("/proc/self/maps");
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    for (std::size_t line = 0; line < maps.size(); line = maps.find('\n', line) + 1) {
        char* rest = nullptr;
        const auto begin = std::strtoull(maps.c_str() + line, &rest, 16);
        const auto end = std::strtoull(rest + 1, nullptr, 16);
        if (wanted < begin || wanted >= end) continue;
        const auto path = maps.find('/', line);
        const auto line_end = maps.find('\n', line);
        return path < line_end ? maps.substr(path, line_end - path) : std::string{};
    }
    return {};
}

// Without /proc: the name that the program was executed by, as long as it leads to the same file.
inline std::string executed_file(const ProgramImage& image) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    const auto* name = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
    if (name == nullptr) return {};
    if (*name == '/') return is_file_of(name, image) ? name : std::string{};
    // A relative one starts where the program did.
    const char* directory = std::getenv("PWD");
    for (const auto& from : {current_directory(), std::string{directory ? directory : "/"}}) {
        auto path = from + "/" + name;
        if (is_file_of(path, image)) return path;
    }
    return {};
}

[[noreturn]] inline void throw_no_executable(const std::string& why) {
    throw std::system_error(
        ENOENT, std::system_category(),
        "find the executable of this program (" + why + "); set WorkerOptions::program");
}

// The arguments up to the program's own, of a loader that runs it: with its options, a path for
// libraries for instance.
inline std::vector<std::string> loader_arguments(const std::string& loader,
                                                 const std::string& program) {
    std::vector<std::string> arguments;
    const auto line = contents_of("/proc/self/cmdline");
    struct ::stat wanted {};
    struct ::stat status {};
    const bool known = ::stat(program.c_str(), &wanted) == 0;
    for (std::size_t at = 0; at < line.size();) {
        const std::string argument{line.c_str() + at};
        at += argument.size() + 1;
        const bool same = known && ::stat(argument.c_str(), &status) == 0 &&
                          status.st_ino == wanted.st_ino && status.st_dev == wanted.st_dev;
        if (!arguments.empty() && (same || file_name(argument) == file_name(program))) {
            arguments.push_back(program);
            return arguments;
        }
        arguments.push_back(argument);
    }
    return {loader, program};
}

// A program whose loader was run by hand. The kernel knows only the loader.
inline Executable executable_by_loader(const ProgramImage& image, const std::string& loader) {
    auto path = mapped_file(image.begin);
    if (!is_file_of(path, image)) path = executed_file(image);
    if (path.empty()) {
        throw_no_executable("it was started by the loader " + loader + ", and its file is gone");
    }
    return {loader, path, loader_arguments(loader, path)};
}

// The running executable: the very file, even when another one has taken its name since.
inline Executable own_executable() {
    static const ProgramImage image = find_program_image();
    // The second leads there also when the main thread has ended.
    for (const char* link : {"/proc/self/exe", "/proc/thread-self/exe"}) {
        std::string path(PATH_MAX, '\0');
        const auto size = ::readlink(link, path.data(), path.size());
        if (size == -1) continue;
        path.resize(static_cast<std::size_t>(size));
        struct ::stat status {};
        constexpr std::string_view mark = " (deleted)";
        const bool gone = path.ends_with(mark) && ::stat(path.c_str(), &status) != 0;
        const auto file = gone ? std::string{link} : path;  // the link itself still leads there
        if (image.run_by_loader()) return executable_by_loader(image, file);
        return {file, gone ? path.substr(0, path.size() - mark.size()) : path, {}};
    }
    if (image.run_by_loader()) return executable_by_loader(image, image.loader);
    auto path = executed_file(image);
    if (path.empty()) {
        throw_no_executable(
            "/proc/self/exe cannot be read, and the name that it was started by "
            "does not lead there");
    }
    return {path, path, {}};
}
#endif

// The path of a file in the folder that the running executable lies in, or lay in.
inline std::string path_beside_executable(const std::string& name) {
    const auto file = own_executable().file;
    return clean_path(file.substr(0, file.rfind('/') + 1) + name);
}

inline bool is_program(const std::string& path) noexcept {
    struct ::stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
           ::access(path.c_str(), X_OK) == 0;
}

// Only in folders with an absolute path: what a relative one means depends on the working
// directory.
inline std::string find_in_path(const std::string& name) {
    const char* variable = std::getenv("PATH");
    std::string_view rest{variable != nullptr ? variable : "/usr/bin:/bin"};
    while (!rest.empty()) {
        const auto colon = std::min(rest.find(':'), rest.size());
        std::string candidate{rest.substr(0, colon)};
        rest.remove_prefix(std::min(colon + 1, rest.size()));
        if (!candidate.starts_with('/')) continue;
        candidate.append(1, '/').append(name);
        if (is_program(candidate)) return candidate;
    }
    throw std::system_error(ENOENT, std::system_category(), "find \"" + name + "\" in PATH");
}

// An absolute path for a WorkerOptions::program that is set; the file need not exist.
inline std::string resolve_program(const std::string& program) {
    if (program.find('/') == std::string::npos) return find_in_path(program);
    if (program.front() == '/') return clean_path(program);
    return clean_path(current_directory() + "/" + program);
}

// What the system runs in place of a file, or along with it; empty where it needs nothing.
inline std::string interpreter_of(const std::string& program) {
    const Descriptor file{::open(program.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    const auto read_at = [&](std::size_t offset, std::size_t size) {
        std::string bytes(size, '\0');
        const auto count = ::pread(file.get(), bytes.data(), size, static_cast<::off_t>(offset));
        bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
        return bytes;
    };
    const auto head = read_at(0, 256);
    if (head.starts_with("#!")) {
        const std::string_view line{head.data(), std::min(head.find('\n'), head.size())};
        const auto begin = std::min(line.find_first_not_of(" \t", 2), line.size());
        const auto end = std::min(line.find_first_of(" \t", begin), line.size());
        return std::string{line.substr(begin, end - begin)};
    }
#if defined(__linux__)
    ElfW(Ehdr) header{};
    if (head.size() < sizeof header || !head.starts_with(ELFMAG)) return {};
    std::memcpy(&header, head.data(), sizeof header);
    for (std::size_t i = 0; i < header.e_phnum; ++i) {
        ElfW(Phdr) segment{};
        const auto bytes = read_at(header.e_phoff + i * header.e_phentsize, sizeof segment);
        if (bytes.size() < sizeof segment) break;
        std::memcpy(&segment, bytes.data(), sizeof segment);
        if (segment.p_type != PT_INTERP || segment.p_filesz > PATH_MAX) continue;
        return read_at(segment.p_offset, segment.p_filesz).c_str();
    }
#endif
    return {};
}

// A program that could not be executed, with the reason where its path alone does not tell.
inline std::string describe_program(const std::string& program, int error) {
    struct ::stat status {};
    if (::stat(program.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
        return program + ", which is a directory";
    }
    if (error != ENOENT && error != EACCES) return program;
    auto interpreter = interpreter_of(program);
    if (interpreter.empty() || is_program(interpreter)) return program;
    std::string hint;
    if (interpreter.ends_with('\r')) {
        interpreter.replace(interpreter.size() - 1, 1, "\\r");
        hint = " (its lines end as on Windows)";
    }
    return program + ", whose interpreter \"" + interpreter + "\" cannot be executed" + hint;
}

}  // namespace detail
TETHER_NAMESPACE_END
