# aarch64.cmake - the toolchain of `make test-arm`: programs for 64-bit ARM, which CTest runs under QEMU.
# Debian's cross compiler, and its libraries for arm64 beside the machine's own (multi-arch; tools/deps arm).
# QEMU's processor has every extension that it knows; QEMU_CPU in the environment names a lesser one.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
