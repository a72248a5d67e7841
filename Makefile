# The habits of this repository. `make help` prints them.

.PHONY: help run web edge deploy test bench bench-web bench-edge agreement lint
MODEL ?= smollm2-135m-instruct

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

run: ## build, and serve the default model on 127.0.0.1:8080
	cargo build --release -p tinderbox
	target/release/tinderbox serve

web: ## build the demo page and serve it on 127.0.0.1:5173
	scripts/web.sh $(MODEL)

edge: ## build the Cloudflare Worker and run it in workerd on 127.0.0.1:8787
	scripts/edge.sh

deploy: ## build the Cloudflare Worker and deploy it (docs/deploy.md)
	scripts/edge.sh deploy

test: ## install what the tests need, and run them all
	scripts/test.sh

bench: ## measure beside llama.cpp on the same file
	scripts/bench.sh $(MODEL)

bench-web: ## measure the browser package beside wllama, in Chromium
	scripts/bench-web.sh $(MODEL)

bench-edge: ## measure the edge beside LiteLLM's proxy and wllama
	scripts/bench-edge.sh $(MODEL)

agreement: ## judge the numbers of every place by a float oracle, beside llama.cpp: make agreement TEXT=LAMBADA.jsonl
	scripts/agreement.sh "$(TEXT)" $(MODEL)

lint: ## format and clippy, warnings denied
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
