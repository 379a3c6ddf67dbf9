# Debian's Prometheus, for machines that cannot pull the image of the Compose file.
FROM localhost/python-base:bookworm
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus wget \
    && rm -rf /var/cache/apt/archives /var/lib/apt/lists
ENTRYPOINT ["/usr/bin/prometheus"]
