# The gateway's image: `docker build -t icdpo-gateway .`; for NVIDIA's GPUs `docker build --build-arg VARIANT=cuda -t icdpo-gateway:cuda .`
# How it is run stands in docs/deployment.md.
# A tag may mean another image tomorrow. For a build that can be repeated, give both images by digest (docs/deployment.md says how to find it):
# --build-arg NODE_IMAGE=node:24-bookworm-slim@sha256:…
ARG NODE_IMAGE=node:24-bookworm-slim
# node-llama-cpp's CUDA build needs CUDA 13's runtime and cuBLAS; the driver comes from the host.
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-runtime-ubuntu24.04
ARG VARIANT=cpu

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No package's install script is needed: native parts come prebuilt.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build:gateway && rm dist/.tsbuildinfo && find dist -name "*.d.ts" -delete
# What is left out: development's packages, other platforms' libraries, the sources of llama.cpp.
ARG VARIANT
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
  && npm sbom --sbom-format=cyclonedx --omit=dev --package-lock-only > sbom.cdx.json \
  && arch=$(node -p process.arch) \
  && rm -rf node_modules/@node-llama-cpp/*-vulkan node_modules/node-llama-cpp/llama/gitRelease.bundle \
  && find node_modules/@node-llama-cpp -mindepth 1 -maxdepth 1 ! -name "linux-$arch*" -exec rm -rf {} + \
  && find node_modules/onnxruntime-node/bin -mindepth 3 -maxdepth 3 ! -path "*/linux/$arch" -exec rm -rf {} + \
  && if [ "$VARIANT" = cpu ]; then rm -rf node_modules/@node-llama-cpp/*-cuda*; fi

FROM ${NODE_IMAGE} AS cpu

FROM ${CUDA_IMAGE} AS cuda
COPY --from=build /usr/local/bin/node /usr/local/bin/node

# hadolint ignore=DL3006
FROM ${VARIANT} AS gateway
# A user of no name: the images have different ones. All that is ever written lies in the two volumes.
RUN install -d -o 10001 -g 10001 /cache /data
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
# What is in the image, beside its base: CycloneDX.
COPY --from=build /app/sbom.cdx.json ./
COPY policies policies
COPY demos demos
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080 ICDPO_CACHE=/cache ICDPO_DATABASE=/data/records.db HOME=/data
USER 10001:10001
VOLUME ["/cache", "/data"]
EXPOSE 8080
# The first start fetches models before it listens.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Node itself is process 1: it takes SIGTERM, and its only child is the engine, which it waits for.
ENTRYPOINT ["node", "/app/dist/commands/cli.js"]
CMD ["serve"]
