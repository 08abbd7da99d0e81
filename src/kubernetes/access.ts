/** Where the API is and who the agent is there. */

/** Bytes that are known, or the file that holds them; a file is read again while the agent runs. */
export type Material = { readonly data: Buffer } | { readonly file: string };

/** How the agent proves who it is. Service accounts have a token; kubeconfig files a token, a certificate or both. */
export interface Identity {
  readonly token: { readonly text: string } | { readonly file: string } | undefined;
  readonly certificate: Material | undefined;
  readonly key: Material | undefined;
}

export interface Access {
  /** `https://10.96.0.1:443`, or with a path in front of the API's own. */
  readonly server: URL;
  /** `the service account`, or the kubeconfig file and its context: for people. */
  readonly origin: string;
  readonly identity: Identity;
  /** Absent: the certificate authorities that Node brings along. */
  readonly authority: Material | undefined;
  /** Name that the server's certificate must have instead of the one in the URL. */
  readonly serverName: string | undefined;
  /** The server's certificate is not looked at: for experiments only. */
  readonly insecure: boolean;
  /** Namespace of the Pod, or that of the kubeconfig's context. */
  readonly namespace: string | undefined;
  /** For the log, once: what was accepted but should not be so. */
  readonly warnings: readonly string[];
}

/** The agent cannot know where the API is, or who it is there. A person has to change something. */
export class AccessError extends Error {
  override readonly name = 'AccessError';
}
