# A host with systemd, on which convoy is installed as docs/how-to/systemd.md says.
FROM localhost/python-base:bookworm
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends dbus systemd \
    && rm -rf /var/cache/apt/archives /var/lib/apt/lists
COPY --from=docker.io/library/convoy:server /opt/convoy /opt/convoy
COPY convoy.service /etc/systemd/system/
# The kernel has one table of emulators for all containers: systemd would clear it, at its end, of the
# one with which images for arm64 are built.
RUN systemctl enable convoy && systemctl mask systemd-binfmt.service proc-sys-fs-binfmt_misc.automount
STOPSIGNAL SIGRTMIN+3
# systemd hands over credentials in a mount, which services see only if the root is shared, as on
# every host. Engines give containers a private one.
ENTRYPOINT ["/bin/sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd"]
