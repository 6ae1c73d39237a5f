// A program that knows nothing of Tether and loads a plugin that does.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

namespace {

void announce(std::string line) {
    line += '\n';
    const int fd = ::open(std::getenv("TETHER_TEST_EVENTS"), O_WRONLY | O_CLOEXEC);
    (void)!::write(fd, line.data(), line.size());
    ::close(fd);
}

std::string thread_count() {
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("Threads:")) return line.substr(line.find_first_of("123456789"));
    }
    return "unknown";
}

bool is_mapped(const std::string& path) {
    std::ifstream maps{"/proc/self/maps"};
    for (std::string line; std::getline(maps, line);) {
        if (line.ends_with(path)) return true;
    }
    return false;
}

class Plugin {
public:
    explicit Plugin(const std::string& path) : handle_(::dlopen(path.c_str(), RTLD_NOW)) {
        if (handle_ != nullptr) return;
        announce(std::string{"dlopen "} + ::dlerror());
        std::exit(1);
    }
    Plugin(const Plugin&) = delete;
    Plugin& operator=(const Plugin&) = delete;
    ~Plugin() { ::dlclose(handle_); }

    template <class Function>
    [[nodiscard]] Function* get(const char* name) const {
        return reinterpret_cast<Function*>(::dlsym(handle_, name));
    }

private:
    void* handle_;
};

}  // namespace

// loader PLUGIN PROGRAM STORAGE ROUNDS PENDING END
int main(int, char** argv) {
    const std::string path = argv[1];
    const std::string end = argv[6];
    for (int round = std::atoi(argv[4]); round > 0; --round) {
        Plugin plugin{path};
        plugin.get<void(const char*, const char*)>("plugin_start")(argv[2], argv[3]);
        const auto call = plugin.get<void(const char*, const char*, const char*)>("plugin_call");
        call("answer", "echo", "x");
        if (*argv[5] != '\0') {
            plugin.get<void(const char*)>("plugin_async")(argv[5]);
            announce("sent");
            char go = 0;
            (void)!::read(STDIN_FILENO, &go, 1);
        }
        if (round == 1 && end == "loaded") {
            announce("ending");
            std::exit(7);
        }
    }
    announce("unloaded threads " + thread_count() + (is_mapped(path) ? " mapped" : " gone"));
    char go = 0;
    (void)!::read(STDIN_FILENO, &go, 1);
    announce("ending");
    if (end == "quick_exit") std::quick_exit(7);
    return 7;
}
