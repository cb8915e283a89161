# strata's front door.  The build itself is CMakeLists.txt.
BUILD ?= build
TYPE  ?= RelWithDebInfo
JOBS  ?= $(shell nproc)
GEN   := $(shell command -v ninja >/dev/null 2>&1 && echo Ninja || echo "Unix Makefiles")

.PHONY: all
all: $(BUILD)/CMakeCache.txt
	@cmake --build $(BUILD) -j $(JOBS)
$(BUILD)/CMakeCache.txt: CMakeLists.txt
	@cmake -S . -B $(BUILD) -G "$(GEN)" -DCMAKE_BUILD_TYPE=$(TYPE) $(CMAKE_ARGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }; rm -f $(BUILD).log
