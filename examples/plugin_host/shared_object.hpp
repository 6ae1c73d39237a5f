#pragma once

#include <tether/error.hpp>

#include <memory>
#include <string>

#include <dlfcn.h>

namespace plugin_host {

/// A shared object that is loaded as long as this object lives.
class SharedObject {
public:
    explicit SharedObject(const std::string& path) : handle_(::dlopen(path.c_str(), RTLD_NOW)) {
        if (handle_ == nullptr) throw tether::HandlerError("not_loadable", ::dlerror());
    }

    template <class Function>
    Function* find(const char* symbol) const {
        void* address = ::dlsym(handle_.get(), symbol);
        if (address == nullptr) throw tether::HandlerError("not_a_plugin", ::dlerror());
        return reinterpret_cast<Function*>(address);
    }

private:
    struct Close {
        void operator()(void* handle) const noexcept { ::dlclose(handle); }
    };
    std::unique_ptr<void, Close> handle_;
};

}  // namespace plugin_host
