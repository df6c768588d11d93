/* A disk that fails on demand: a layer between a program and its writes and syncs in the kernel.

   DISK_FOLDER names the folder of the switches. Each is a file that exists or not:

   fail    every sync of a file whose name ends with the text in it fails with EIO
   kill    "<suffix> <number>": the process dies in that write to, or sync of, such a file; a write is torn
   synced/ a folder: after each sync, the file is copied there as it is now; after the sync of a folder, files that were
           removed from it are removed here, too. It is what a power cut would leave. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int seen;

/* The path of a regular file, or 0. */
static int path_of(int fd, char path[PATH_MAX]) {
    struct stat found;
    if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return 1;
}

static int ends_with(const char *path, const char *suffix) {
    size_t whole = strlen(path), end = strlen(suffix);
    return end <= whole && strcmp(path + whole - end, suffix) == 0;
}

/* The text of a switch, or 0 if it is off. */
static int is_on(const char *name, char said[256]) {
    const char *folder = getenv("DISK_FOLDER");
    if (folder == NULL) return 0;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = read(fd, said, 255);
    close(fd);
    said[length > 0 ? length : 0] = 0;
    return 1;
}

static int is_time_to_die(int fd) {
    char said[256], suffix[256], path[PATH_MAX];
    int number;
    return is_on("kill", said) && sscanf(said, "%255s %d", suffix, &number) == 2 && path_of(fd, path)
        && ends_with(path, suffix) && ++seen >= number;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

/* A folder was synced: what was removed from it stays removed. */
static void forget(int fd, const char *synced) {
    DIR *names = opendir(synced);
    struct dirent *entry;
    char path[PATH_MAX * 2];
    while (names != NULL && (entry = readdir(names)) != NULL)
        if (entry->d_name[0] != '.' && faccessat(fd, entry->d_name, F_OK, 0) != 0 && errno == ENOENT) {
            snprintf(path, sizeof path, "%s/%s", synced, entry->d_name);
            unlink(path);
        }
    if (names != NULL) closedir(names);
}

static void keep(int fd) {
    const char *folder = getenv("DISK_FOLDER");
    char path[PATH_MAX], synced[PATH_MAX * 2], part[PATH_MAX * 2];
    struct stat found;
    snprintf(synced, sizeof synced, "%s/synced", folder ? folder : "");
    if (folder == NULL || stat(synced, &found) != 0) return;
    if (!path_of(fd, path)) {
        forget(fd, synced);
        return;
    }
    snprintf(synced, sizeof synced, "%s/synced%s", folder, strrchr(path, '/'));
    snprintf(part, sizeof part, "%s/part.%d", folder, getpid());
    int to = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char block[1 << 14];
    off64_t at = 0;
    ssize_t length;
    /* Read through the descriptor itself: closing another one would drop the locks of this process on the file. */
    while ((length = pread64(fd, block, sizeof block, at)) > 0 && write(to, block, length) == length) at += length;
    close(to);
    rename(part, synced);
}

static int synced(int fd, const char *name) {
    char said[256], path[PATH_MAX];
    if (is_time_to_die(fd)) die();
    if (is_on("fail", said) && path_of(fd, path) && ends_with(path, said)) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    int answer = real(fd);
    if (answer == 0) keep(fd);
    return answer;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

static ssize_t written(int fd, const void *from, size_t length, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    if (is_time_to_die(fd)) {
        real(fd, from, length / 2, at);
        die();
    }
    return real(fd, from, length, at);
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) { return written(fd, from, length, at); }
ssize_t pwrite(int fd, const void *from, size_t length, off_t at) { return written(fd, from, length, at); }
