/*
 * Preloaded into a test process to make the disk misbehave (LD_PRELOAD). Test only.
 *
 * SHIM_LEDGER=file  after each successful sync, appends "<size> <path>\n": how much of a file has reached the disk. Cutting every file
 *                   to its last such size is what a power failure leaves of files that are only appended to.
 * SHIM_FAIL=file    while that file exists, fsync and fdatasync of anything fail with EIO.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int (*sync_call)(int);

static void note(int fd) {
  const char *ledger = getenv("SHIM_LEDGER");
  char link[64], path[4096], line[4200];
  struct stat status;
  if (ledger == NULL || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return;
  path[length] = '\0';
  int count = snprintf(line, sizeof line, "%lld %s\n", (long long)status.st_size, path);
  int out = open(ledger, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (out < 0) return;
  if (write(out, line, (size_t)count) != count) abort();
  close(out);
}

static int checked(const char *name, int fd) {
  const char *fail = getenv("SHIM_FAIL");
  if (fail != NULL && access(fail, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  sync_call real = (sync_call)dlsym(RTLD_NEXT, name);
  int result = real(fd);
  if (result == 0) note(fd);
  return result;
}

int fsync(int fd) { return checked("fsync", fd); }
int fdatasync(int fd) { return checked("fdatasync", fd); }
