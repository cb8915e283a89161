# strata's front door.  The build itself is CMakeLists.txt; what is installed stands in tools/deps.
BUILD  ?= build
TYPE   ?= RelWithDebInfo
JOBS   ?= $(shell nproc)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60

# $(call compile,folder,build type,more cmake options): configures (new folders are seen), then builds what changed.
compile = cmake -S . -B $(1) $$([ -f $(1)/CMakeCache.txt ] || ! command -v ninja >/dev/null || echo -GNinja) \
	-DCMAKE_BUILD_TYPE=$(2) $(3) $(CMAKE_ARGS) >$(1).log 2>&1 || { cat $(1).log; exit 1; }; rm -f $(1).log; \
	cmake --build $(1) -j $(JOBS)
ctest = ctest --test-dir $(1) --output-on-failure -j $(JOBS) $(CTEST_ARGS)

.PHONY: all run test test-gpu test-gpu-pack sanitize-gpu test-gpu-server test-arm asan ubsan tsan fuzz coverage bench test-clients test-ui test-deploy check install uninstall deb clean help
all:
	@tools/deps build
	@$(call compile,$(BUILD),$(TYPE))

# Serves MODEL (default: the demo model) at http://127.0.0.1:8080/v1; ARGS: further options of strata serve.
run: all
	@exec $(BUILD)/strata serve $(if $(MODEL),--model $(MODEL)) $(ARGS)

test:
	@tools/deps build test
	@$(call compile,$(BUILD),$(TYPE))
	@$(call ctest,$(BUILD))

# What needs a CUDA device: one program that needs nothing but libc and the driver, run here where there is one; made small to be
# carried to one, together with the tree and its models.
gpu_program = $(call compile,$(1),$(TYPE),-DSTRATA_CUDA=ON -DSTRATA_SERVER=OFF -DSTRATA_TESTS=OFF $(2)) --target strata-test-gpu
test-gpu:
	@tools/deps build
	@$(call gpu_program,build-gpu)
	@build-gpu/strata-test-gpu $(ARGS)
test-gpu-pack:
	@tools/deps build
	@$(call gpu_program,build-pack,-DSTRATA_CUDA_LINES=OFF)
	@tests/gpu/pack build-pack/strata-test-gpu

# Its kernels under compute-sanitizer; TOOLS: which of its tools.
TOOLS ?= memcheck synccheck racecheck
sanitize-gpu:
	@tools/deps build
	@$(call compile,$(BUILD),$(TYPE),-DSTRATA_CUDA=ON) --target strata-test-gpu strata-bench-linear-cuda strata-bench-attn-cuda strata-bench-chain-cuda
	@tests/gpu/sanitize $(BUILD) $(TOOLS)

# The server on a CUDA device: what it promises to many clients; then 100 faults and 5 hangs of the device in the middle of answers.
test-gpu-server:
	@tools/deps build
	@$(call compile,$(BUILD),$(TYPE),-DSTRATA_CUDA=ON) --target strata strata-cuda strata-faulty
	@tests/gpu/serve.py $(BUILD)/strata $(ARGS)
	@STRATA_PLUGINS=$(BUILD)/faulty tests/gpu/recover.py $(BUILD)/strata trap 100 --step-timeout 20
	@STRATA_PLUGINS=$(BUILD)/faulty tests/gpu/recover.py $(BUILD)/strata hang 5

# Without the server's libraries: everything on 64-bit ARM under QEMU; then, on one without dot products, what has those.
test-arm:
	@tools/deps arm
	@$(call compile,build-arm,$(TYPE),-DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake -DSTRATA_SERVER=OFF -DSTRATA_CUDA=OFF)
	@$(call ctest,build-arm)
	@QEMU_CPU=cortex-a72 $(call ctest,build-arm) -R '^(linear|cpu|joints)_test$$'

# The same tests under the compilers' checkers, each in its own folder.
asan:
	@tools/deps build test
	@$(call compile,build-asan,Debug,-DSTRATA_SANITIZE=address$(comma)undefined)
	@$(call ctest,build-asan)
ubsan:
	@tools/deps build test
	@$(call compile,build-ubsan,Debug,-DSTRATA_SANITIZE=undefined)
	@$(call ctest,build-ubsan)
tsan:
	@tools/deps build test
	@$(call compile,build-tsan,Debug,-DSTRATA_SANITIZE=thread)
	@$(call ctest,build-tsan)
comma := ,

# Which lines and branches of the parsers, the scheduler and the allocator the tests and the fuzzers' seeds run (and what a
# fuzzer has learnt in build-fuzz, if it is there).  Tests of kernels, of speed and of packages have no part in that.
no_part = ^(linear|layout|attn|embed|glu|kvio|move|norm|rope|sample|quant|mathf|cpu|synth|offload|deploy|deb|soak|kill_quantize|check)_test$$|^check$$|reference|render_oracle|structured_process
coverage:
	@tools/deps build test fuzz
	@CC=clang && export CC && $(call compile,build-cov,Debug,-DSTRATA_COVERAGE=ON -DSTRATA_CUDA=OFF)
	@rm -rf build-cov/profiles && mkdir build-cov/profiles
	@LLVM_PROFILE_FILE=$(CURDIR)/build-cov/profiles/%p.profraw $(call ctest,build-cov) -E '$(no_part)'
	@for c in build-fuzz/corpus/*_fuzz; do [ ! -d $$c ] || LLVM_PROFILE_FILE=$(CURDIR)/build-cov/profiles/%p.profraw \
	    $$(find build-cov -name $${c##*/} -type f) $$c >/dev/null; done
	@tools/coverage build-cov $(ARGS)

# Every parser of outside bytes, FUZZ_SECONDS each.
fuzz:
	@tools/deps build fuzz
	@CC=clang && export CC && $(call compile,build-fuzz,Debug,-DSTRATA_FUZZ=ON -DSTRATA_TESTS=OFF)
	@tools/fuzz build-fuzz $(FUZZ_SECONDS)

bench: all
	@$(BUILD)/strata bench $(if $(MODEL),--model $(MODEL)) $(ARGS)

# Clients that people use, fetched by npm, against servers of ours (tests/clients/README.md).
test-clients: all
	@tools/deps clients
	@tests/clients/run.sh $(BUILD)/strata serve $(if $(MODEL),--model $(MODEL)) $(ARGS)

# What deploy/ holds and the package, with the tools that read them; as root, because the package is installed in a chroot
# and a container (CHROOT: a Debian 12 to be copied for them).
test-deploy: all deb
	@tools/deps deploy
	@tests/docs_test.sh $(BUILD)/strata
	@tests/deploy_test.sh $(BUILD)
	@tests/deploy_tools.sh $(BUILD)
	@tests/deb_test.sh build-deb/strata_*.deb $(CHROOT)
	@tests/service_test.sh build-deb/strata_*.deb $(CHROOT)

# The page in Chromium, driven by playwright-core, which npm fetches.
test-ui: all
	@tools/deps ui
	@tests/ui/run.sh $(BUILD)/strata $(MODEL)

check:
	@tools/check

# What is installed is listed in $(BUILD)/install_manifest.txt; uninstall takes that away again.
install: all
	@DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)
uninstall:
	@tools/uninstall $(BUILD)/install_manifest.txt $(PREFIX) $(DESTDIR)

# A Debian package, in build-deb/: for the release it is made on, whose libraries it names.
now      = -Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now
hardened = -DCMAKE_C_FLAGS=-D_FORTIFY_SOURCE=2 -DCMAKE_EXE_LINKER_FLAGS=$(now) -DCMAKE_MODULE_LINKER_FLAGS=$(now)
deb:
	@tools/deps build deb
	@$(call compile,build-deb,$(TYPE),-DSTRATA_TESTS=OFF -DSTRATA_ZSH=zsh/vendor-completions $(hardened))
	@cd build-deb && cpack -G DEB >cpack.log || { cat cpack.log; exit 1; }
	@ls build-deb/strata_*.deb

clean:
	rm -rf build build-deb build-gpu build-pack build-arm build-asan build-ubsan build-tsan build-fuzz build-cov

help:
	@echo "make                build strata into $(BUILD)/ (installs the Debian packages it needs)"
	@echo "make run            serve the demo model, or MODEL=file.gguf, at http://127.0.0.1:8080/v1"
	@echo "make test           build and run all tests"
	@echo "make test-gpu       build and run the tests that need a CUDA device; ARGS: part of a test's name"
	@echo "make test-gpu-pack  the program of these tests alone, small enough to be carried with the tree"
	@echo "make sanitize-gpu   its kernels under memcheck, synccheck and racecheck; TOOLS: some of them"
	@echo "make test-gpu-server  the server on a CUDA device: many clients, faults, hangs"
	@echo "make test-arm       build for 64-bit ARM and run the tests under QEMU, without the server"
	@echo "make asan|ubsan|tsan  the same under a checker"
	@echo "make fuzz           fuzz every parser, FUZZ_SECONDS=$(FUZZ_SECONDS) each"
	@echo "make coverage       lines and branches that tests and seeds run; ARGS=--missing lists the others"
	@echo "make test-clients   clients that people use against a server"
	@echo "make test-ui        the page of the server in a browser"
	@echo "make bench          tokens per second; MODEL=file.gguf ARGS='-p 512 -n 128'"
	@echo "make check          include floors, banned calls, sizes"
	@echo "make install        into PREFIX=$(PREFIX), below DESTDIR; make uninstall takes it away"
	@echo "make deb            a Debian package, in build-deb/"
	@echo "make test-deploy    the package in a chroot of its own, and what deploy/ holds, with the tools that read it"
	@echo "make clean          remove the build folders"
