# Every target is one line of what it runs. CGO is off: the product is pure Go with generated assembly.
export CGO_ENABLED = 0
SHARED ?= ../shared
PEERS  ?= .peers
FUZZTIME ?= 1m
TOOL    = go tool -modfile=tools/go.mod

.PHONY: build test test-all lint format generate bench interop interop-gguf interop-full interop-resume conformance example-models fuzz bench-size bench-memory report-check bench-peers bench-llm bench-quantize bench-torch bench-layer bench-train bench-qat interop-train bench-perplexity

build: ; go build -trimpath -o bin/neuroquant ./cmd/neuroquant

test: ; go test ./...

test-all: test ; go test -tags purego -timeout 20m ./... && cd internal/kernel/_asm && go vet ./...

lint: ; gofmt -l $$(git ls-files '*.go') | (! grep .) && go vet ./... && go vet -tags purego ./... && $(TOOL) golangci-lint run --allow-parallel-runners ./... && $(TOOL) golangci-lint run --allow-parallel-runners --build-tags purego ./...

format: ; $(TOOL) gofumpt -w $$(git ls-files '*.go')

generate: ; go generate ./... && go run ./cmd/neuroquant list --operators --markdown > docs/operators.md

bench: ; go test -run '^$$' -bench . -benchtime 0.5s ./...

bench-size: ; go test -C internal/shapes -count=1 -run 'Test(Static)?Size$$' -full

bench-memory: ; go test -C cmd/neuroquant -count=1 -run 'TestCalibrationMemory$$' -full

bench-peers: $(PEERS)/interop/ready ; go run ./bench/peers -python $(PEERS)/interop/bin/python -dir $(PEERS)/bench-models $(BENCHFLAGS)

bench-llm: $(PEERS)/llamacpp/ready ; go build -o bin/llm ./bench/llm && bin/llm -packages $(PEERS)/llamacpp -dir $(PEERS)/bench-llm $(BENCHFLAGS)

bench-quantize: $(PEERS)/llamacpp/ready $(PEERS)/full/ready ; go build -o bin/llm ./bench/llm && bin/llm -quantize -python $(PEERS)/full/bin/python -packages $(PEERS)/llamacpp -dir $(PEERS)/bench-llm $(if $(wildcard /dev/shm),-out /dev/shm) $(BENCHFLAGS)

bench-torch: $(PEERS)/full/ready ; go run ./bench/peers -python $(PEERS)/full/bin/python -torch $(PEERS)/full/bin/python -dir $(PEERS)/bench-models $(BENCHFLAGS)

bench-layer: $(PEERS)/full/ready ; go build -o bin/layer ./bench/layer && $(PEERS)/full/bin/python interop/check_layers.py bin/layer --time

bench-train: $(PEERS)/llm/ready ; go build -o bin/train ./bench/train && $(PEERS)/llm/bin/python bench/train/compare.py bin/train

bench-qat: ; go test -count=1 -timeout 60m -v -run 'TestResNet20QAT$$' . -qat

interop-train: build $(PEERS)/full/ready $(PEERS)/llm/ready $(PEERS)/interop/ready ; go build -o bin/gradients ./bench/gradients && $(PEERS)/full/bin/python interop/check_gradients.py bin/gradients && $(PEERS)/interop/bin/python interop/check_qat.py bin/neuroquant $(SHARED) && $(PEERS)/llm/bin/python interop/check_training.py bin/neuroquant $(SHARED) && $(PEERS)/full/bin/python interop/check_crash.py bin/neuroquant $(SHARED)

.PHONY: bench-lora
bench-lora: build ; go run ./bench/lora $(BENCHFLAGS)

bench-perplexity: ; go test -C internal/quantize -count=1 -timeout 90m -v -run 'TestFewBitsTable$$' -table

conformance: ; go test -C internal/format/onnx -count=1 -run 'TestConformance$$' -table

report-check: ; go test -C e2e -count=1 . -screenshots $(abspath $(PEERS)/screenshots)

interop: build $(PEERS)/interop/ready ; go run ./internal/example/gen -out $(PEERS)/example-data && $(PEERS)/interop/bin/python interop/check_onnxruntime.py bin/neuroquant $(SHARED) $(PEERS)/example-data && $(PEERS)/interop/bin/python interop/check_static.py bin/neuroquant $(SHARED) && $(PEERS)/interop/bin/python interop/check_resnet20.py bin/neuroquant $(SHARED) && $(PEERS)/interop/bin/python interop/check_tokenizers.py bin/neuroquant $(SHARED) --texts 2000 && $(PEERS)/interop/bin/python interop/check_chat.py bin/neuroquant

interop-gguf: build $(PEERS)/llamacpp/ready ; node interop/check_gguf.mjs bin/neuroquant $(SHARED) $(PEERS)/llamacpp

interop-full: interop interop-gguf $(PEERS)/full/ready ; $(PEERS)/full/bin/python interop/check_torchvision.py bin/neuroquant $(if $(OLDTORCH),&& $(OLDTORCH) interop/check_torchvision.py bin/neuroquant) && $(PEERS)/full/bin/python interop/check_pytorch.py bin/neuroquant $(OLDTORCH) && $(PEERS)/full/bin/python interop/check_statedict.py bin/neuroquant $(SHARED) && $(PEERS)/full/bin/python interop/check_torch.py bin/neuroquant $(SHARED) && go build -o bin/layer ./bench/layer && $(PEERS)/full/bin/python interop/check_layers.py bin/layer

interop-llm: build $(PEERS)/llm/ready $(PEERS)/llamacpp/ready ; $(PEERS)/llm/bin/python interop/check_bitsandbytes.py bin/neuroquant $(SHARED) && $(PEERS)/llm/bin/python interop/check_transformers.py bin/neuroquant --keep $(PEERS)/decoders && $(PEERS)/llm/bin/python interop/check_encoders.py bin/neuroquant && $(PEERS)/llm/bin/python interop/check_adapters.py bin/neuroquant $(SHARED) && node interop/check_gguf.mjs bin/neuroquant $(SHARED) $(PEERS)/llamacpp $(PEERS)/decoders/*

interop-resume: build ; python3 interop/check_resume.py bin/neuroquant $(SHARED)

.PHONY: interop-loaders interop-outliers bench-gptqmodel
interop-loaders: build $(PEERS)/loaders/ready $(PEERS)/llmc/ready ; $(PEERS)/loaders/bin/python interop/check_loaders.py bin/neuroquant $(SHARED) && $(PEERS)/llmc/bin/python interop/check_loaders.py bin/neuroquant $(SHARED) llm-compressor

interop-outliers: build $(PEERS)/llm/ready ; $(PEERS)/llm/bin/python interop/check_outliers.py bin/neuroquant $(SHARED)

bench-gptqmodel: build $(PEERS)/loaders/ready ; $(PEERS)/loaders/bin/python interop/check_gptqmodel.py bin/neuroquant $(SHARED)

.PHONY: bench-plan bench-large
bench-plan: build ; go build -o bin/plan ./bench/plan && bin/plan -neuroquant bin/neuroquant -shared $(SHARED) $(BENCHFLAGS)

bench-large: build ; go build -o bin/plan ./bench/plan && bin/plan -large -neuroquant bin/neuroquant -shared $(SHARED) $(BENCHFLAGS)

example-models: ; go run ./internal/example/train -models internal/example/models -expected internal/example/testdata/expected.json

fuzz: ; git grep -E '^func Fuzz' -- '*_test.go' | sed -E 's#^(|.*/)[^/]*:func (Fuzz[A-Za-z0-9_]*).*#\1 \2#' | while read dir name; do go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) ./$$dir </dev/null || exit 1; done

$(PEERS)/llamacpp/ready: interop/llamacpp/package.json ; mkdir -p $(@D) && cp $< $(@D) && npm install --prefix $(@D) --ignore-scripts --omit=optional --no-audit --no-fund && touch $@
$(PEERS)/interop/ready: interop/requirements.txt
$(PEERS)/full/ready: interop/requirements-full.txt interop/requirements.txt
$(PEERS)/llm/ready: interop/requirements-llm.txt interop/requirements-full.txt interop/requirements.txt
$(PEERS)/loaders/ready: interop/requirements-loaders.txt interop/requirements-full.txt interop/requirements.txt
$(PEERS)/llmc/ready: interop/requirements-llmcompressor.txt
$(PEERS)/%/ready: ; python3 -m venv $(@D) && $(@D)/bin/pip install -q -r $< && touch $@
