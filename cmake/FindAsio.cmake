# Finds standalone Asio, which comes without a CMake package of its own.
#
#   Asio::asio         target with the include directory
#   Asio_VERSION       read from asio/version.hpp
#   Asio_INCLUDE_DIR   cache variable: the directory that has asio.hpp

find_path(Asio_INCLUDE_DIR asio.hpp DOC "Directory that has standalone Asio's asio.hpp")
mark_as_advanced(Asio_INCLUDE_DIR)

unset(Asio_VERSION)
if(EXISTS "${Asio_INCLUDE_DIR}/asio/version.hpp")
    # "#define ASIO_VERSION 102201 // 1.22.1"
    file(STRINGS "${Asio_INCLUDE_DIR}/asio/version.hpp" Asio_VERSION
        REGEX "^#define ASIO_VERSION [0-9]+")
    string(REGEX REPLACE "^#define ASIO_VERSION ([0-9]+).*" "\\1" Asio_VERSION "${Asio_VERSION}")
    if(Asio_VERSION)
        math(EXPR Asio_VERSION_MAJOR "${Asio_VERSION} / 100000")
        math(EXPR Asio_VERSION_MINOR "${Asio_VERSION} / 100 % 1000")
        math(EXPR Asio_VERSION_PATCH "${Asio_VERSION} % 100")
        set(Asio_VERSION "${Asio_VERSION_MAJOR}.${Asio_VERSION_MINOR}.${Asio_VERSION_PATCH}")
    endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Asio
    REQUIRED_VARS Asio_INCLUDE_DIR Asio_VERSION VERSION_VAR Asio_VERSION)

if(Asio_FOUND AND NOT TARGET Asio::asio)
    add_library(Asio::asio INTERFACE IMPORTED)
    target_include_directories(Asio::asio INTERFACE "${Asio_INCLUDE_DIR}")
endif()
