# Two stages: build with the toolchain, run on a small Debian. The result is one binary with every role.
FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p callbus && cp target/release/callbus /usr/local/bin/callbus

FROM debian:trixie-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/callbus callbus
# The authorities that HTTPS is checked by; the small image has none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/callbus /usr/local/bin/callbus
USER callbus
WORKDIR /var/lib/callbus
VOLUME /var/lib/callbus
ENTRYPOINT ["callbus"]
